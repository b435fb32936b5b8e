"""All-reduces made of the library's own collectives: the direct one, which is exact, and the native one, which is not.

NCCL's collectives are queued on a stream and cannot be posted ahead one by one. There the direct algorithm is an
all-to-all, an ordered sum and an all-gather.
"""

from collections.abc import Sequence

import torch.distributed as dist
from torch import Tensor

from bigbatch.processes.lost_peer import communicating
from bigbatch.reduction.tree import Node, merge_run, run_of

# torch 2.13 renames it and deprecates the old name.
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class DirectCollectives:
    """The direct algorithm as two library collectives: the bits of the canonical tree.

    Process r owns the r-th of p equal slices; the last ones are padded. What it launches besides is little: no copies
    where the slices need no padding, and log2(p) additions where the processes' runs are aligned nodes.

    Args:
        group: of the processes.
        blocks: the contiguous workers of each process, in the order of the ranks.
    """

    def __init__(self, group: dist.ProcessGroup, blocks: Sequence[range]) -> None:
        self.group, self.worker_count = group, blocks[-1].stop
        self.world_size = group.size()
        self.runs = [run_of(block, self.worker_count) for block in blocks]
        self.counts = [len(run) for run in self.runs]
        is_whole = self.counts == [1] * self.world_size and len({len(block) for block in blocks}) == 1
        self.is_perfect = is_whole and self.world_size & (self.world_size - 1) == 0  # the upper levels of the tree

    def __call__(self, nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
        """Write the sum over all processes into `out`.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        size = -(-out.numel() // self.world_size)
        if size == 0:
            return
        is_padded = out.numel() < self.world_size * size
        received = out.new_empty(sum(self.counts), size)
        with communicating():
            dist.all_to_all_single(
                received.view(-1),
                self._slices(nodes, size, is_padded=is_padded),
                [count * size for count in self.counts],
                [len(nodes) * size] * self.world_size,
                group=self.group,
            )
        sums = out.new_empty(self.world_size * size) if is_padded else out
        with communicating():
            all_gather(sums, self._sum(received), group=self.group)
        if is_padded:
            out.copy_(sums[: out.numel()])

    def _slices(self, nodes: Sequence[Node[Tensor]], size: int, *, is_padded: bool) -> Tensor:
        """Return the nodes cut into slices, those for each process side by side."""
        if len(nodes) == 1 and not is_padded:
            return nodes[0].value
        numel = nodes[0].value.numel()
        rows = nodes[0].value.new_zeros(len(nodes), self.world_size * size)
        for row, node in zip(rows, nodes, strict=True):
            row[:numel] = node.value
        return rows.view(len(nodes), self.world_size, size).transpose(0, 1).reshape(-1)

    def _sum(self, received: Tensor) -> Tensor:
        """Return the sum of the rows, which are the runs of all processes, along the tree."""
        if not self.is_perfect:
            nodes = (node for run in self.runs for node in run)
            arrived = [Node(node.start, node.stop, row) for node, row in zip(nodes, received, strict=True)]
            total: Tensor = merge_run(arrived, self.worker_count, Tensor.add_)[0].value
            return total
        while len(received) > 1:
            received = received[::2] + received[1::2]
        return received[0]


class NativeAllReduce:
    """The backend's own all-reduce: the control and the baseline. Its bits depend on the processes.

    Args:
        group: of the processes.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group = group

    def __call__(self, nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
        """Write the sum over all processes into `out`, in the backend's own order.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        fold(nodes, out)
        with communicating():
            dist.all_reduce(out, group=self.group)


def fold(nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
    """Add up a process's run, the last nodes first, into `out`, which may be one of its buffers."""
    total = nodes[-1].value
    for node in reversed(nodes[:-1]):
        total = node.value.add_(total)
    if total.data_ptr() != out.data_ptr():
        out.copy_(total)
