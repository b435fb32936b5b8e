"""The canonical binary tree: one order of additions for a sum over k workers, whoever evaluates which part of it.

Floating-point addition is commutative but not associative, so a sum is a function of its terms only once its tree is
fixed. Ours is that of a binary counter over the workers 0 to k-1: two neighbouring perfect subtrees of equal size
merge as soon as both are there, and what is left at the end folds from the smallest to the largest, 13 = 8 + (4 + 1).

A process that holds a contiguous block of workers evaluates the perfect subtrees inside its block; the rest of the
tree is evaluated over those nodes, in any place, with the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Node(Generic[T]):
    """The sum over workers start to start + size - 1, a perfect subtree: size is a power of 2 that divides start."""

    start: int
    size: int
    value: T


class BinaryCounter(Generic[T]):
    """Evaluate the canonical tree as its leaves arrive in the order of the workers, holding O(log k) values.

    Args:
        merge: returns the sum of its two arguments, left and right; it may reuse the storage of both.

    >>> counter = BinaryCounter(lambda left, right: f"({left}+{right})")
    >>> for worker in range(7):
    ...     counter.push(Node(worker, 1, str(worker)))
    >>> counter.fold()
    '(((0+1)+(2+3))+((4+5)+6))'
    """

    def __init__(self, merge: Callable[[T, T], T]) -> None:
        self.merge = merge
        self.nodes: list[Node[T]] = []

    def push(self, node: Node[T]) -> None:
        """Add the node that follows the last one, and merge siblings while there are any."""
        self.nodes.append(node)
        while len(self.nodes) > 1 and are_siblings(*self.nodes[-2:]):
            right, left = self.nodes.pop(), self.nodes.pop()
            self.nodes.append(Node(left.start, 2 * left.size, self.merge(left.value, right.value)))

    def fold(self) -> T:
        """Return the sum of all that was pushed, the last nodes first, and start anew."""
        total = self.nodes.pop().value
        while self.nodes:
            total = self.merge(self.nodes.pop().value, total)
        return total

    def take(self) -> list[Node[T]]:
        """Return the perfect subtrees that cannot merge further here, in order, and start anew."""
        nodes, self.nodes = self.nodes, []
        return nodes


def are_siblings(left: Node[T], right: Node[T]) -> bool:
    """Tell whether two neighbouring nodes are the halves of one perfect subtree."""
    return left.size == right.size and left.start % (2 * left.size) == 0


def perfect_nodes(workers: range) -> list[Node[None]]:
    """Return the perfect subtrees that a contiguous block of workers evaluates on its own.

    >>> [(node.start, node.size) for node in perfect_nodes(range(3, 8))]
    [(3, 1), (4, 4)]
    """
    counter: BinaryCounter[None] = BinaryCounter(lambda _left, _right: None)
    for worker in workers:
        counter.push(Node(worker, 1, None))
    return counter.take()
