"""A schedule: who sends which stretch of the buffer to whom, in which round. It is pure: without torch or a wire.

An exact all-reduce has two parts. In the *partial* rounds processes hand each other partial sums, which are runs of
nodes of the canonical tree. They end when each element's total is with one process. In the *total* rounds the totals
spread.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A stretch of the buffer that goes to a peer or comes from it.

    Attributes:
        peer: the other process.
        start: first element.
        stop: one past the last element.
        ranks: of a partial sum that is received: the neighbouring processes whose workers it sums.
    """

    peer: int
    start: int
    stop: int
    ranks: range = range(0)


@dataclass(frozen=True)
class Round:
    """What one process sends and receives at once. In a partial round all that it receives is the same stretch."""

    sends: tuple[Message, ...] = ()
    receives: tuple[Message, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """The rounds of one process for one stretch of the buffer.

    All processes have equally many rounds, some of them empty. Messages between two processes are sent and received in
    the order of the rounds.
    """

    partial: tuple[Round, ...]
    total: tuple[Round, ...]


# (rank, first element, one past the last) -> what this process does for that stretch
MakeSchedule = Callable[[int, int, int], Schedule]


def owned(start: int, stop: int, index: int, bits: int) -> tuple[int, int]:
    """Return the stretch that member `index` holds after `bits` halvings: bit j chooses the half of halving j.

    >>> [owned(0, 8, index, 2) for index in range(4)]
    [(0, 2), (4, 6), (2, 4), (6, 8)]
    """
    for bit in range(bits):
        middle = (start + stop) // 2
        start, stop = (middle, stop) if index >> bit & 1 else (start, middle)
    return start, stop


def mirrored(rounds: tuple[Round, ...]) -> tuple[Round, ...]:
    """Return the rounds that undo these: in reverse, what was given comes back and what came is given back."""
    return tuple(Round(round_.receives, round_.sends) for round_ in reversed(rounds))
