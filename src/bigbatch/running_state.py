"""What a forward pass changes besides its output: running statistics and step counters, found by trying it once."""

from collections.abc import Callable
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.reduction import Processes
from bigbatch.reduction.base import communicating

# Counts of forward passes, equal on every worker: restored like a statistic, they need no average.
STEP_COUNTERS: Final = ("num_batches_tracked",)


class RunningState:
    """The buffers of a model, divided by what a forward pass does to them.

    Floats that it changes are running statistics: every worker starts from the step's values, and the step ends with
    the mean over the workers. What it leaves alone stays as it is, to the bit.

    Args:
        model: whose buffers they are.
        forward: runs the model once, on the samples of a worker.
        processes: who takes part; they agree on what changes.

    Raises:
        InputError: a buffer that is no float and no step counter changes: it cannot be averaged.
    """

    def __init__(self, model: nn.Module, forward: Callable[[], object], processes: Processes) -> None:
        buffers = dict(model.named_buffers())
        changes = _changes(list(buffers.values()), forward, processes)
        changing = {name: buffer for (name, buffer), changed in zip(buffers.items(), changes, strict=True) if changed}
        self.statistics = [buffer for buffer in changing.values() if buffer.is_floating_point()]
        self.counters = [buffer for buffer in changing.values() if not buffer.is_floating_point()]
        self.constants = {name: buffer for name, buffer in buffers.items() if name not in changing}
        self.start: list[Tensor] = []
        self.start_constants: list[Tensor] = []
        for name, buffer in changing.items():
            if not (buffer.is_floating_point() or name.endswith(STEP_COUNTERS)):
                msg = f"the model's buffer '{name}' is no float and changes in a step: it would depend on the processes"
                raise InputError(msg)

    def begin(self) -> None:
        """Remember the values that every worker of the step starts from."""
        self.start = [buffer.clone() for buffer in (*self.statistics, *self.counters)]
        self.start_constants = [buffer.clone() for buffer in self.constants.values()]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the values of the step's start back."""
        for buffer, value in zip((*self.statistics, *self.counters), self.start, strict=True):
            buffer.copy_(value)

    def check(self) -> None:
        """Refuse a buffer that seemed constant and has changed in this step.

        Raises:
            InputError: names it.
        """
        for (name, buffer), value in zip(self.constants.items(), self.start_constants, strict=True):
            if not _same(buffer, value):
                msg = f"the model's buffer '{name}' changes in some steps only: it would depend on the processes"
                raise InputError(msg)

    @torch.no_grad()
    def finish(self, sums: list[Tensor], worker_count: int) -> None:
        """Set the running statistics to the mean over the workers, by one division of their sum."""
        for buffer, summed in zip(self.statistics, sums, strict=True):
            torch.div(summed, worker_count, out=buffer)


@torch.no_grad()
def _changes(buffers: list[Tensor], forward: Callable[[], object], processes: Processes) -> list[bool]:
    """Run forward once, put the buffers back, and return which of them changed on any process."""
    before = [buffer.clone() for buffer in buffers]
    forward()
    changed = [not _same(buffer, value) for buffer, value in zip(buffers, before, strict=True)]
    for buffer, value in zip(buffers, before, strict=True):
        buffer.copy_(value)
    if processes.world_size == 1 or not buffers:
        return changed
    flags = torch.tensor(changed, dtype=torch.int32, device=buffers[0].device)
    with communicating():
        dist.all_reduce(flags, dist.ReduceOp.MAX, group=processes.group)
    return [bool(flag) for flag in flags.tolist()]


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if a.is_floating_point() else torch.equal(a, b)
