"""The part of the tree that one process evaluates, as its workers' leaves arrive."""

from collections.abc import Sequence

from torch import Tensor

from bigbatch.reduction.flat import Flat, FlatLayout
from bigbatch.reduction.tree import BinaryCounter, Node, is_node


class LocalSum:
    """This process's run of partial sums, of leaves that are lists of tensors.

    It reuses its buffers: log2(v) + 1 at most for v workers in an aligned block.

    Args:
        layout: of a leaf.
        worker_count: workers of the minibatch, over all processes (k).
    """

    def __init__(self, layout: FlatLayout, worker_count: int) -> None:
        self.layout, self.worker_count = layout, worker_count
        self.counter: BinaryCounter[Flat] = BinaryCounter(worker_count, self._merge)
        self.free: list[Flat] = []
        self.lent: list[Flat] = []

    def add(self, worker: int, leaf: Sequence[Tensor | None]) -> None:
        """Add the leaf of the next worker; None counts as zeros. The tensors are copied."""
        nodes = self.counter.nodes
        if nodes and is_node(nodes[-1].start, worker + 1, self.worker_count):
            sibling = nodes.pop()
            sibling.value.add_tensors_(leaf)
            self.counter.push(Node(sibling.start, worker + 1, sibling.value))
        else:
            flat = self.free.pop() if self.free else self.layout.empty()
            flat.copy_(leaf)
            self.counter.push(Node(worker, worker + 1, flat))

    def take(self) -> list[Node[Flat]]:
        """Return the run, and start anew. Its buffers may be written to until `clear` or the next `take`."""
        self.free += self.lent
        nodes = self.counter.take()
        self.lent = [node.value for node in nodes]
        return nodes

    def clear(self) -> None:
        """Forget what was added, and take back what was lent."""
        self.take()
        self.take()

    def _merge(self, left: Flat, right: Flat) -> Flat:
        self.free.append(right)
        return left.add_(right)
