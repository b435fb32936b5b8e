"""The canonical binary tree: one order of additions for a sum over k workers, for any division of the work.

Floating-point addition is commutative but not associative. So a sum is a function of its terms only once its tree is
fixed. Ours is that of a binary counter over the workers 0 to k-1. Two neighbouring perfect subtrees of equal size merge
as soon as both are there. What is left at the end folds from the smallest to the largest: 13 = 8 + (4 + 1).

Its nodes are stretches of neighbouring workers. A process whose workers make no node holds a *run*: the fewest nodes
that make up its stretch. When two neighbouring runs meet, the nodes that are children of one node merge, and no others.
So processes may meet in any order and number, and the sum has the same bits.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Node(Generic[T]):
    """The sum over the workers start to stop - 1, a node of the tree."""

    start: int
    stop: int
    value: T


class BinaryCounter(Generic[T]):
    """Evaluate the canonical tree as its nodes arrive in the order of the workers, holding O(log k) values.

    Args:
        worker_count: leaves of the tree (k).
        merge: returns the sum of its two arguments, left and right; it may reuse the storage of both.

    >>> counter = BinaryCounter(7, lambda left, right: f"({left}+{right})")
    >>> for worker in range(7):
    ...     counter.push(Node(worker, worker + 1, str(worker)))
    >>> counter.take()
    [Node(start=0, stop=7, value='(((0+1)+(2+3))+((4+5)+6))')]
    """

    def __init__(self, worker_count: int, merge: Callable[[T, T], T]) -> None:
        self.worker_count = worker_count
        self.merge = merge
        self.nodes: list[Node[T]] = []

    def push(self, node: Node[T]) -> None:
        """Add the node that follows the last one, and merge siblings while there are any."""
        assert not self.nodes or self.nodes[-1].stop == node.start
        while self.nodes and is_node(self.nodes[-1].start, node.stop, self.worker_count):
            left = self.nodes.pop()
            node = Node(left.start, node.stop, self.merge(left.value, node.value))
        self.nodes.append(node)

    def take(self) -> list[Node[T]]:
        """Return the run of what was pushed, and start anew; after all k workers it is one node."""
        nodes, self.nodes = self.nodes, []
        return nodes


def is_node(start: int, stop: int, worker_count: int) -> bool:
    """Tell whether the workers start to stop - 1 make a node of the tree over `worker_count` workers.

    A node is a perfect subtree, whose size is a power of two and divides its start. Or it is all that the largest
    perfect subtrees leave over.

    >>> [(start, stop) for start in range(7) for stop in range(start + 2, 8) if is_node(start, stop, 7)]
    [(0, 2), (0, 4), (0, 7), (2, 4), (4, 6), (4, 7)]
    """
    size = stop - start
    if size & (size - 1) == 0 and start % size == 0:
        return True
    return stop == worker_count and start == (worker_count >> size.bit_length()) << size.bit_length()


def merge_run(nodes: Iterable[Node[T]], worker_count: int, merge: Callable[[T, T], T]) -> list[Node[T]]:
    """Return the run of neighbouring nodes, their siblings merged.

    >>> merge_run([Node(2, 3, "c"), Node(3, 4, "d"), Node(4, 6, "ef")], 16, str.__add__)
    [Node(start=2, stop=4, value='cd'), Node(start=4, stop=6, value='ef')]
    """
    counter = BinaryCounter(worker_count, merge)
    for node in nodes:
        counter.push(node)
    return counter.take()


def run_of(workers: range, worker_count: int) -> list[Node[None]]:
    """Return the run that a contiguous block of workers makes, without values.

    >>> [(node.start, node.stop) for node in run_of(range(3, 8), 16)]
    [(3, 4), (4, 8)]
    """
    leaves = (Node(worker, worker + 1, None) for worker in workers)
    return merge_run(leaves, worker_count, lambda _left, _right: None)
