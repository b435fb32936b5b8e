"""What a forward pass changes besides its output: running statistics and step counters."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes, set_on_any

# Counts of forward passes, equal on every worker: restored like a statistic, they need no average.
STEP_COUNTERS: Final = ("num_batches_tracked",)
Norms: Final = nn.modules.batchnorm._NormBase  # noqa: SLF001 - no public base class


class RunningState:
    """The buffers of a model, sorted by what a forward pass does to them.

    Running statistics are the floats of batch normalisation, and any other float that a trial forward pass changes.
    Every worker starts from the step's values. The step ends with those values plus the mean of the workers' changes.
    So a buffer that no worker changes keeps its bits.

    Args:
        model: whose buffers they are.
        forward: runs the model once, on the samples of a worker.
        processes: who takes part. A buffer changes if it does so on any of them.

    Raises:
        InputError: a buffer that is no float and no step counter changes, or one is replaced instead of written to.
    """

    def __init__(self, model: nn.Module, forward: Callable[[], object], processes: Processes) -> None:
        self.model = model
        self.buffers = dict(model.named_buffers())
        self.start = {name: buffer.clone() for name, buffer in self.buffers.items()}
        with torch.no_grad():
            forward()
        self._check_identity()
        device = next(model.parameters()).device
        changed = set_on_any([not self._is_as_at_start(name) for name in self.buffers], processes, device)
        norms = {id(b) for m in model.modules() if isinstance(m, Norms) for b in m.buffers()}
        changing = [name for name, change in zip(self.buffers, changed, strict=True) if change]
        candidates = [name for name, b in self.buffers.items() if name in changing or id(b) in norms]
        self.statistics = [name for name in candidates if self.buffers[name].is_floating_point()]
        self.counters = [name for name in candidates if name not in self.statistics]
        self.constants = [name for name in self.buffers if name not in candidates]
        for name in self.counters:
            if not name.endswith(STEP_COUNTERS):
                msg = f"the model's buffer '{name}' is no float and changes in a step: it would depend on the processes"
                raise InputError(msg)
        self.restore()

    def begin(self) -> None:
        """Remember the values that every worker of the step starts from."""
        self.start = {name: buffer.clone() for name, buffer in self.buffers.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values of the step's start back."""
        for name in (*self.statistics, *self.counters):
            self.buffers[name].copy_(self.start[name])

    @torch.no_grad()
    def changes(self) -> list[Tensor]:
        """Return what a worker has added to each of the running statistics."""
        return [self.buffers[name] - self.start[name] for name in self.statistics]

    def is_finite(self) -> bool:
        """Tell whether no running statistic is NaN or infinite."""
        return all(bool(self.buffers[name].isfinite().all()) for name in self.statistics)

    @torch.no_grad()
    def finish(self, sums: list[Tensor], worker_count: int) -> None:
        """Add the mean of the workers' changes, by one division of their sum.

        Raises:
            InputError: a buffer that seemed constant has changed, or was replaced.
        """
        self._check_identity()
        for name in self.constants:
            if not self._is_as_at_start(name):
                msg = f"the model's buffer '{name}' changes in some steps only: it would depend on the processes"
                raise InputError(msg)
        for name, summed in zip(self.statistics, sums, strict=True):
            torch.add(self.start[name], summed / worker_count, out=self.buffers[name])

    def _check_identity(self) -> None:
        """Refuse `self.buffer = ...` in a forward pass: the new tensor would escape."""
        for name, buffer in self.model.named_buffers():
            if buffer is not self.buffers.get(name):
                msg = f"the model's buffer '{name}' is replaced in a forward pass; write to it in place (as copy_ does)"
                raise InputError(msg)

    def _is_as_at_start(self, name: str) -> bool:
        now, before = self.buffers[name], self.start[name]
        if now.is_floating_point():
            return bool(((now == before) | (now.isnan() & before.isnan())).all())
        return torch.equal(now, before)
