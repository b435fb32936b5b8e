"""What a forward pass changes besides its output: running statistics, counters and other buffers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError, nearest
from bigbatch.processes.group import Processes, check_agreement, dense_parts, set_on_any

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
INTEGERS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
FIRST_WEIGHT, WEIGHT_STEP, MIXER = 0x1F83D9ABFB41BD6B, 0x1E3779B97F4A7C15, 0x3F58476D1CE4E5B9  # any large odd numbers
PIECE: Final = 1 << 20  # elements that are hashed at once
CHUNKS: Final = 4  # of 16 bits: the sum of their squares over 2 million workers is exact in float64


@dataclass(frozen=True)
class Place:
    """Where a module keeps a buffer."""

    module: nn.Module
    key: str

    def get(self) -> Tensor | None:
        """Return what lies there, or None."""
        buffers = self.module._buffers  # noqa: SLF001 - also those that the forward pass has just made
        return buffers[self.key] if self.key in buffers else None  # noqa: SIM401 - a ScriptModule's have no get

    def put(self, buffer: Tensor | None) -> None:
        """Let this very tensor lie there, or None."""
        self.module._buffers[self.key] = buffer  # noqa: SLF001

    def remove(self) -> None:
        """Forget that there was a buffer of this name."""
        self.module._buffers.pop(self.key, None)  # noqa: SLF001


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
        self.roles: dict[str, str] = {}
        self.places = dict(_places(model))
        self.begin()
        trial(self._restore_all)
        here = dict(_places(model))
        self.made = [name for name in here if name not in self.places]
        check_agreement({"the buffers that its forward pass makes": self.made}, processes, self.device)
        self.places |= {name: here[name] for name in self.made}
        self.buffers |= dict.fromkeys(self.made)
        self.start |= dict.fromkeys(self.made)
        changes = set_on_any([not self._is_as_at_start(name) for name in self.places], processes, self.device)
        changing = [name for name, is_changing in zip(self.places, changes, strict=True) if is_changing]
        self.roles |= dict.fromkeys(changing, SAME) | _roles_of_norms(model) | self._declared(declared or {})
        self.sums = [name for name, role in self.roles.items() if role in {MEAN, SUM}]
        self.same = [name for name, role in self.roles.items() if role == SAME]
        for name in self.sums:
            self._check_sum(name)
        self.restore()

    def begin(self) -> None:
        """Remember the values that every worker of the step starts from."""
        self.buffers = {name: place.get() for name, place in self.places.items()}
        self.start = {name: None if buffer is None else buffer.clone() for name, buffer in self.buffers.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values of the step's start back."""
        for name in self.roles:
            self._restore(name)

    @torch.no_grad()
    def changes(self) -> list[Tensor]:
        """Return what a worker has added to each buffer that is summed, and fingerprints of those that are the same."""
        changes = [self._change(name) for name in self.sums]
        prints = [fingerprint(self.places[name].get(), self.device) for name in self.same]
        return [*changes, torch.stack(prints)] if prints else changes

    def is_finite(self) -> bool:
        """Tell whether no running statistic is NaN or infinite."""
        now = (self.places[name].get() for name in self.sums)
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
        for name, summed in zip(self.sums, sums, strict=True):
            buffer = self.buffers[name]
            self.places[name].put(buffer)
            torch.add(self.start[name], summed / worker_count if self.roles[name] == MEAN else summed, out=buffer)  # type: ignore[arg-type]
        for name in self.same:
            if (made := self.places[name].get()) is not None and made.requires_grad:
                self.places[name].put(made.detach())
        for name, role in self.roles.items():
            if role == START:
                self._restore(name)

    def _declared(self, declared: Mapping[str, str]) -> dict[str, str]:
        """Return the roles that the user has given, by the buffers' names."""
        for pattern in declared:
            if not any(fnmatchcase(name, pattern) for name in self.places):
                msg = f"buffers: '{pattern}' fits no buffer of the model; {nearest(pattern, list(self.places))}"
                raise InputError(msg)
        return {name: role for pattern, role in declared.items() for name in self.places if fnmatchcase(name, pattern)}

    @torch.no_grad()
    def _restore_all(self) -> None:
        for name, place in list(_places(self.model)):
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
        here = [name for name, _ in _places(self.model)]
        for name in dict.fromkeys((*self.places, *here)):
            if name not in self.roles and not (name in self.places and self._is_as_at_start(name)):
                msg = (
                    f"the model's buffer '{name}' changes in some steps only; say what becomes of it: "
                    f"Step(..., buffers={{'{name}': 'same'}}) if it is the same on every worker, or 'mean' or 'sum'"
                )
                raise InputError(msg)

    def _is_as_at_start(self, name: str) -> bool:
        """Tell whether the very tensor of the step's start is there, with its bits."""
        now, start = self.places[name].get(), self.start[name]
        if now is not self.buffers[name] or now is None or start is None:
            return now is start
        if now.shape != start.shape or now.is_meta:
            return now.shape == start.shape
        if now.layout == torch.strided:
            return torch.equal(integers(now), integers(start))
        pairs = zip(dense_parts(now), dense_parts(start), strict=True)
        return all(torch.equal(integers(a), integers(b)) for a, b in pairs)


def _places(model: nn.Module) -> Iterator[tuple[str, Place]]:
    """Yield where the buffers lie, by their names."""
    for prefix, module in model.named_modules():
        # A shared one comes by each of its names, and so do places that are empty yet.
        for key in module._buffers.keys():  # noqa: SIM118, SLF001 - a ScriptModule's can only be iterated so
            yield f"{prefix}.{key}".lstrip("."), Place(module, key)


def _roles_of_norms(model: nn.Module) -> dict[str, str]:
    """Return the roles of batch normalisation's buffers: of torch's classes, and of what looks like one."""
    roles = {}
    for name, place in _places(model):
        if place.get() is None:
            continue
        is_norm = isinstance(place.module, Norms)
        if place.key in STATISTICS and (is_norm or set(place.module._buffers.keys()) >= STATISTICS):  # noqa: SLF001
            roles[name] = MEAN
        elif is_norm and place.key == COUNTER:
            # Only a cumulative average depends on it. Elsewhere it may differ where workers leave a layer out.
            roles[name] = COUNT if place.module.momentum is not None else SAME
    return roles


def fingerprint(buffer: Tensor | None, device: torch.device) -> Tensor:
    """Return a hash of a buffer's shape and bits in chunks of 16 bits, and their squares; float64, on the device."""
    total = torch.zeros((), dtype=torch.int64, device=device)
    if buffer is not None:
        total += hash((buffer.element_size(), *buffer.shape)) | 1
        for part in dense_parts(buffer.detach()):
            total = total * MIXER + _hash(part).to(device)
    shifts = 16 * torch.arange(CHUNKS, device=device)
    chunks = ((total >> shifts) & 0xFFFF).double()
    return torch.cat([chunks, chunks * chunks])


def _hash(tensor: Tensor) -> Tensor:
    """Return the sum of the elements as integers, each times a weight of its place; int64, which wraps around."""
    total = torch.zeros((), dtype=torch.int64, device=tensor.device)
    for number, piece in enumerate(torch.split(integers(tensor).flatten(), PIECE)):
        places = torch.arange(number * PIECE, number * PIECE + len(piece), device=piece.device)
        weights = (FIRST_WEIGHT + places * WEIGHT_STEP) * MIXER
        total += (piece * ((weights ^ (weights >> 29)) * MIXER | 1)).sum()
    return total


def integers(tensor: Tensor) -> Tensor:
    """Return the elements' bits as integers."""
    real = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return real if real.dtype == torch.bool else real.resolve_neg().view(INTEGERS[real.element_size()])
