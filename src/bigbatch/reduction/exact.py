"""The sum that keeps the canonical tree: the same bits for any number of processes."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.reduction.base import Processes, communicating
from bigbatch.reduction.flat import Flat, FlatLayout
from bigbatch.reduction.tree import BinaryCounter, Node, perfect_nodes
from bigbatch.sampling import worker_block

# torch 2.13 renames it and deprecates the old name.
all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class ExactReduction:
    """Evaluate the tree inside the process as leaves arrive, then across the processes by exchanging slices.

    It holds as many buffers as the counter has nodes at most, log2(v) + 1 for v workers in an aligned block, and
    reuses them.

    Args:
        like: tensors that fix the leaves' shapes, dtypes and device.
        worker_count: workers of a minibatch (k), divided among the processes in contiguous blocks.
        processes: who takes part.
    """

    def __init__(self, like: Sequence[Tensor], *, worker_count: int, processes: Processes) -> None:
        self.layout = FlatLayout(like, multiple=processes.world_size)
        self.counter: BinaryCounter[Flat] = BinaryCounter(self._merge)
        self.free: list[Flat] = []
        self.exchange = SliceExchange(worker_count, processes) if processes.world_size > 1 else None

    def add(self, worker: int, leaf: Sequence[Tensor | None]) -> None:
        """Copy the leaf into a buffer and merge it with its siblings."""
        flat = self.free.pop() if self.free else self.layout.zeros()
        flat.copy_(leaf)
        self.counter.push(Node(worker, 1, flat))

    def clear(self) -> None:
        """Forget the leaves that were added since the last sum."""
        self.free += [node.value for node in self.counter.take()]

    def all_reduce(self) -> list[Tensor]:
        """Fold what this process holds, or exchange it with the others."""
        if self.exchange is None:
            total = self.counter.fold()
        else:
            nodes = [node.value for node in self.counter.take()]
            sums = [self.exchange.all_reduce(buffers) for buffers in zip(*(n.buffers for n in nodes), strict=True)]
            self.free += nodes[1:]
            total = nodes[0]
            for into, buffer in zip(total.buffers, sums, strict=True):
                into.copy_(buffer)
        self.free.append(total)  # the caller is done with it before the next leaf is added
        return total.views

    def _merge(self, left: Flat, right: Flat) -> Flat:
        left.add_(right)
        self.free.append(right)
        return left


class SliceExchange:
    """Evaluate the upper part of the tree: all-to-all of slices, sum of the nodes in the tree's order, all-gather.

    Process r owns the r-th of p equal slices. It receives that slice of every process's nodes, evaluates the tree
    over them, and everybody gathers the sums. Two collectives, 2(p-1)/p of a buffer sent for one node a process, as a
    ring sends; a process whose block does not start and end at a power of two has more nodes to send.

    Args:
        worker_count: workers of a minibatch (k).
        processes: who takes part; process r runs the r-th contiguous block of workers.
    """

    def __init__(self, worker_count: int, processes: Processes) -> None:
        self.processes = processes
        ranks = range(processes.world_size)
        blocks = [worker_block(worker_count, rank=rank, world_size=processes.world_size) for rank in ranks]
        self.nodes = [perfect_nodes(block) for block in blocks]

    def all_reduce(self, buffers: Sequence[Tensor]) -> Tensor:
        """Return the sum of the tree over all processes' nodes, given the buffers of this process's nodes.

        Each buffer is one-dimensional, its length a multiple of the number of processes.
        """
        world_size, group = self.processes.world_size, self.processes.group
        size = buffers[0].numel() // world_size
        # For one node the slices already lie in the order of their owners; for more, bring each owner's together.
        send = buffers[0] if len(buffers) == 1 else torch.stack([b.view(world_size, size) for b in buffers], 1).view(-1)
        counts = [len(nodes) for nodes in self.nodes]
        received = send.new_empty(sum(counts) * size)
        total = send.new_empty(world_size * size)
        with communicating():
            dist.all_to_all_single(
                received, send, [count * size for count in counts], [len(buffers) * size] * world_size, group=group
            )
        mine = self._sum(received.view(sum(counts), size))
        with communicating():
            all_gather(total, mine, group=group)
        return total

    def _sum(self, slices: Tensor) -> Tensor:
        counter: BinaryCounter[Tensor] = BinaryCounter(torch.Tensor.add_)
        nodes = (node for nodes in self.nodes for node in nodes)
        for node, row in zip(nodes, slices, strict=True):
            counter.push(Node(node.start, node.size, row))
        return counter.fold()
