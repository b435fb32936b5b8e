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

    Process r owns the r-th of p equal slices; the last ones are padded.

    Args:
        group: of the processes.
        blocks: the contiguous workers of each process, in the order of the ranks.
    """

    def __init__(self, group: dist.ProcessGroup, blocks: Sequence[range]) -> None:
        self.group, self.worker_count = group, blocks[-1].stop
        self.world_size = group.size()
        self.runs = [run_of(block, self.worker_count) for block in blocks]

    def __call__(self, nodes: Sequence[Node[Tensor]], out: Tensor) -> None:
        """Write the sum over all processes into `out`.

        Raises:
            PeerLostError: a process ended, or did not answer within the group's timeout.
        """
        size = -(-out.numel() // self.world_size)
        if size == 0:
            return
        send = out.new_zeros(self.world_size, len(nodes), size)
        for i, node in enumerate(nodes):
            for peer in range(self.world_size):
                stretch = node.value[peer * size : (peer + 1) * size]
                send[peer, i, : stretch.numel()] = stretch
        counts = [len(run) for run in self.runs]
        received = out.new_empty(sum(counts) * size)
        sums = out.new_empty(self.world_size * size)
        with communicating():
            dist.all_to_all_single(
                received,
                send.view(-1),
                [count * size for count in counts],
                [len(nodes) * size] * self.world_size,
                group=self.group,
            )
        slices = iter(received.view(-1, size))
        arrived = [Node(node.start, node.stop, next(slices)) for run in self.runs for node in run]
        total = merge_run(arrived, self.worker_count, Tensor.add_)[0].value
        with communicating():
            all_gather(sums, total, group=self.group)
        out.copy_(sums[: out.numel()])


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
