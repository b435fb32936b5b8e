"""Two that take turns, in pairs, so that other work on the machine slows both."""

from collections.abc import Callable, Sequence
from statistics import median

Turn = Callable[[], float]  # returns its seconds


def take_turns(ours: Turn, other: Turn, *, rounds: int) -> list[tuple[float, float]]:
    """Return the seconds of both in each round. Odd rounds begin with the other one."""
    times = []
    for number in range(rounds):
        if number % 2 == 0:
            mine, theirs = ours(), other()
        else:
            theirs, mine = other(), ours()
        times.append((mine, theirs))
    return times


def ratios(times: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return how many times as fast ours is: the median of the rounds, the least and the largest."""
    found = [theirs / mine for mine, theirs in times]
    return {"ratio": median(found), "ratio_least": min(found), "ratio_largest": max(found)}
