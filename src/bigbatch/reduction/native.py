"""The sum as the backend has it: same mathematics, but bits that depend on the processes. The control and baseline."""

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from bigbatch.reduction.base import Processes, communicating
from bigbatch.reduction.flat import FlatLayout


class NativeReduction:
    """Add the leaves one after the other, then hand the sum to the backend's own all-reduce (ring, NCCL).

    Args:
        like: tensors that fix the leaves' shapes, dtypes and device.
        processes: who takes part.
    """

    def __init__(self, like: Sequence[Tensor], *, processes: Processes) -> None:
        layout = FlatLayout(like)
        self.processes = processes
        self.leaf, self.total = layout.zeros(), layout.zeros()
        self.is_empty = True

    def add(self, worker: int, leaf: Sequence[Tensor | None]) -> None:
        """Add the leaf to the running sum."""
        del worker
        if self.is_empty:
            self.total.copy_(leaf)
        else:
            self.leaf.copy_(leaf)
            self.total.add_(self.leaf)
        self.is_empty = False

    def clear(self) -> None:
        """Forget the leaves that were added since the last sum."""
        self.is_empty = True

    def all_reduce(self) -> list[Tensor]:
        """Sum over the processes in whatever order the backend likes."""
        if self.processes.world_size > 1:
            with communicating():
                for buffer in self.total.buffers:
                    dist.all_reduce(buffer, group=self.processes.group)
        self.is_empty = True
        return self.total.views
