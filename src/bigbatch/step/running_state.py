"""What a forward pass changes besides its output: running statistics, counters and other buffers."""

from collections.abc import Callable, Mapping, Sized
from fnmatch import fnmatchcase
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, nearest
from bigbatch.processes.group import Processes, check_agreement, set_on_any
from bigbatch.step.buffers import CHUNKS, INTEGERS, Constant, SideBySide, fingerprint, names_of_shared, places_of

# What becomes of a buffer that a forward pass changes.
MEAN: Final = "mean"  # its start, plus the mean of the workers' changes
SUM: Final = "sum"  # its start, plus the sum of the workers' changes
SAME: Final = "same"  # what each worker has made of it, which is checked to be the same bits
START: Final = "start"  # its start again, as of a cache
COUNT: Final = "count"  # as SAME, but nothing depends on it, so nobody checks
ROLES: Final = (MEAN, SUM, SAME, START)  # a recipe has the same

Norms: Final = nn.modules.batchnorm._NormBase  # noqa: SLF001 - no public base class
STATISTICS: Final = frozenset({"running_mean", "running_var"})
COUNTER: Final = "num_batches_tracked"


class RunningState:
    """The buffers of a model, sorted by what a forward pass does to them.

    Every worker starts from the step's values. Statistics of batch normalisation end as those values plus the mean of
    the workers' changes, and others as their user has declared. Any other buffer that changes must do so to the same
    bits on every worker of every process, as queue pointers and step counters do. That is checked in each step, by
    fingerprints that are summed with the statistics. A buffer that no worker changes keeps its bits.

    Args:
        model: whose buffers they are.
        trial: runs the model on the samples of a worker; it is given what puts the buffers back.
        processes: who takes part. A buffer changes if it does so on any of them.
        declared: roles, of `ROLES`, by patterns of buffers' names.

    Raises:
        InputError: a pattern fits no buffer, or a buffer cannot have its role.
    """

    def __init__(
        self,
        model: nn.Module,
        trial: Callable[[Callable[[], None]], object],
        processes: Processes,
        declared: Mapping[str, str] | None = None,
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.places = dict(places_of(model))
        # Until the trial has shown which buffers change, each may have to be put back.
        self.norms, self.others = SideBySide({}), list(self.places)
        self.constants = {name: Constant.of(place.get(), self.device) for name, place in self.places.items()}
        self.start: dict[str, Tensor | None] = {}
        self.begin()
        trial(self._restore_all)
        here = dict(places_of(model))
        self.made = [name for name in here if name not in self.places]
        check_agreement({"the buffers that its forward pass makes": self.made}, processes, self.device)
        self.places |= {name: here[name] for name in self.made}
        self.buffers |= dict.fromkeys(self.made)
        self.start |= dict.fromkeys(self.made)
        self.roles = dict.fromkeys(self._changed(processes), SAME) | _roles_of_norms(model) | self._declared(declared)
        for name, role in self.roles.items():
            if role in {MEAN, SUM}:
                self._check_sum(name)
        self.others = list(self.roles)
        self.restore()
        self._sort(processes)

    @torch.no_grad()
    def begin(self) -> None:
        """Remember the values that every worker of the step starts from."""
        self.norms.begin()
        self.buffers = {name: self.places[name].get() for name in self.others}
        self.start = {name: None if buffer is None else buffer.clone() for name, buffer in self.buffers.items()}
        for name, constant in self.constants.items():
            now = self.places[name].get()
            if not constant.is_untouched(now):  # its user may write to it between two steps
                self.constants[name] = Constant.of(now, self.device)

    def restore(self) -> None:
        """Put the values of the step's start back."""
        self.norms.restore()
        if self.others:
            with torch.no_grad():
                for name in self.others:
                    self._restore(name)

    def changes(self) -> list[Tensor]:
        """Return what a worker has added to the buffers that are summed, and fingerprints of those that are alike."""
        return [*self.norms.changes(), *self._other_changes()] if self.others else self.norms.changes()

    @torch.no_grad()
    def _other_changes(self) -> list[Tensor]:
        changes = [self._change(name) for name in self.sums]
        prints = [fingerprint(self.places[name].get(), self.device) for name in self.same]
        return [*changes, torch.stack(prints)] if prints else changes

    def is_finite(self) -> bool:
        """Tell whether no running statistic is NaN or infinite."""
        now = (*self.norms.statistics, *(self.places[name].get() for name in self.sums))
        return all(bool(buffer.isfinite().all()) for buffer in now if buffer is not None)

    @torch.no_grad()
    def finish(self, sums: list[Tensor], worker_count: int) -> None:
        """Give every buffer the value with which the step ends.

        Raises:
            InputError: a buffer differs between the workers, or has changed although it had seemed constant.
        """
        self._check_constants()
        if self.same:
            *sums, fingerprints = sums
            self._check_same(fingerprints, worker_count)
        count = len(self.norms.statistics)
        self.norms.add([summed / worker_count for summed in sums[:count]])
        for name, summed in zip(self.sums, sums[count:], strict=True):
            buffer = self.buffers[name]
            self.places[name].put(buffer)
            torch.add(self.start[name], summed / worker_count if self.roles[name] == MEAN else summed, out=buffer)  # type: ignore[arg-type]
        for name in self.same:
            if (made := self.places[name].get()) is not None and made.requires_grad:
                self.places[name].put(made.detach())
        for name in self.others:
            if self.roles[name] == START:
                self._restore(name)

    def _changed(self, processes: Processes) -> list[str]:
        """Return the buffers that the trial has changed on any process."""
        is_changed = [
            name in self.made or not self.constants[name].is_same(place.get()) for name, place in self.places.items()
        ]
        flags = set_on_any(is_changed, processes, self.device)
        return [name for name, is_changed in zip(self.places, flags, strict=True) if is_changed]

    def _declared(self, declared: Mapping[str, str] | None) -> dict[str, str]:
        """Return the roles that the user has given, by the buffers' names."""
        declared = declared or {}
        for pattern in declared:
            if not any(fnmatchcase(name, pattern) for name in self.places):
                msg = f"buffers: '{pattern}' fits no buffer of the model; {nearest(pattern, list(self.places))}"
                raise InputError(msg)
        return {name: role for pattern, role in declared.items() for name in self.places if fnmatchcase(name, pattern)}

    def _sort(self, processes: Processes) -> None:
        """Move batch normalisation's buffers side by side, where they may lie, and tell the others' roles apart."""
        shared = names_of_shared(self.model)
        flags = [name in shared or not self._may_move(name) for name in self.roles]
        apart = set_on_any(flags, processes, self.device)
        self.others = [name for name, is_apart in zip(self.roles, apart, strict=True) if is_apart]
        self.norms = SideBySide({name: self.places[name] for name in self.roles if name not in self.others})
        self.sums = [name for name in self.others if self.roles[name] in {MEAN, SUM}]
        self.same = [name for name in self.others if self.roles[name] == SAME]
        self.constants = {name: constant for name, constant in self.constants.items() if name not in self.roles}
        # A module with other buffers or children than these has made them in a pass.
        modules = [(module._buffers, module._modules) for module in self.model.modules()]  # noqa: SLF001 - no public way
        self.registries: list[Sized] = [registry for pair in modules for registry in pair]
        self.sizes = [len(registry) for registry in self.registries]

    def _may_move(self, name: str) -> bool:
        """Tell whether a buffer is batch normalisation's, and an ordinary tensor."""
        buffer, is_norm = self.places[name].get(), isinstance(self.places[name].module, Norms)
        if not is_norm or type(buffer) is not Tensor or buffer.device != self.device:
            return False
        role = MEAN if buffer.is_floating_point() else COUNT
        return self.roles[name] == role and buffer.layout == torch.strided and not buffer.requires_grad

    @torch.no_grad()
    def _restore_all(self) -> None:
        for name, place in list(places_of(self.model)):
            if name in self.places:
                self._restore(name)
            else:
                place.remove()

    def _restore(self, name: str) -> None:
        buffer, start = self.buffers[name], self.start[name]
        if buffer is None or start is None:
            self.places[name].remove() if name in self.made else self.places[name].put(None)
            return
        self.places[name].put(buffer)
        if buffer.grad_fn is not None:  # of a worker whose backpropagation is over
            buffer.detach_()
        if buffer.shape != start.shape:
            buffer.resize_(start.shape)
        buffer.copy_(start)

    def _change(self, name: str) -> Tensor:
        now, start = self.places[name].get(), self.start[name]
        if now is None or start is None or now.shape != start.shape:
            msg = f"the model's buffer '{name}' changes its shape in a forward pass, so its changes cannot be summed"
            raise InputError(msg)
        return now - start

    def _check_sum(self, name: str) -> None:
        """Refuse a sum or mean that there is not."""
        change, role = self._change(name), self.roles[name]
        if change.is_floating_point() and change.device == self.device:
            return
        if role == SUM and change.dtype in INTEGERS.values() and change.device == self.device:
            return
        what = f"is {change.dtype} on {change.device}"
        msg = f"the model's buffer '{name}' {what}: it has no {role} with the parameters' on {self.device}"
        raise InputError(msg)

    def _check_same(self, sums: Tensor, worker_count: int) -> None:
        """Refuse a buffer whose fingerprints vary over the workers: k times the sum of squares is the squared sum."""
        for name, row in zip(self.same, sums.tolist(), strict=True):
            totals, squares = row[:CHUNKS], row[CHUNKS:]
            if any(worker_count * int(s) != int(t) ** 2 for t, s in zip(totals, squares, strict=True)):
                msg = (
                    f"the model's buffer '{name}' differs between the workers after their forward passes; say what "
                    f"becomes of it: Step(..., buffers={{'{name}': 'mean'}}) for a moving average, 'sum' for a count, "
                    "'start' for a cache; or keep it constant"
                )
                raise InputError(msg)

    def _check_constants(self) -> None:
        changed = [name for name, constant in self.constants.items() if not constant.is_same(self.places[name].get())]
        if [len(registry) for registry in self.registries] != self.sizes:
            changed += [name for name, _ in places_of(self.model) if name not in self.places]
        for name in changed:
            msg = (
                f"the model's buffer '{name}' changes in some steps only; say what becomes of it: "
                f"Step(..., buffers={{'{name}': 'same'}}) if it is the same on every worker, or 'mean' or 'sum'"
            )
            raise InputError(msg)


def _roles_of_norms(model: nn.Module) -> dict[str, str]:
    """Return the roles of batch normalisation's buffers: of torch's classes, and of what looks like one."""
    roles = {}
    for name, place in places_of(model):
        if place.get() is None:
            continue
        is_norm = isinstance(place.module, Norms)
        if place.key in STATISTICS and (is_norm or set(place.module._buffers.keys()) >= STATISTICS):  # noqa: SLF001
            roles[name] = MEAN
        elif is_norm and place.key == COUNTER:
            # Only a cumulative average depends on it. Elsewhere it may differ where workers leave a layer out.
            roles[name] = COUNT if place.module.momentum is not None else SAME
    return roles
