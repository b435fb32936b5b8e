"""Growing the minibatch while training, by doubling it between epochs."""

from dataclasses import dataclass
from typing import Final

GROWTHS: Final = ("none", "schedule", "noise-scale")
GROWTH_SOURCES: Final = {
    "schedule": "the minibatch grows where the schedule would lower the rate, Smith et al. 2018, arXiv 1711.00489",
    "noise-scale": "the minibatch follows the measured gradient noise scale, McCandlish et al. 2018, arXiv 1812.06162",
}


@dataclass(frozen=True)
class Growth:
    """How the minibatch grows from `start` to the recipe's `minibatch_size`.

    Attributes:
        kind: "none"; "schedule": where the schedule would lower the rate, which falls by so much less; "noise-scale":
            as the measured noise scale grows, and the rate with it by the scaling rule; not while no signal can be told
            from the noise.
        start: samples per update in the first epoch; 0 is the reference's size.
        noise_fraction: by "noise-scale", the largest part of it that the minibatch may be.
    """

    kind: str = "none"
    start: int = 0
    noise_fraction: float = 1.0


def largest_doubling(start: int, largest: int, *, limit: float) -> int:
    """Return the largest of start, 2 start, 4 start, ..., `largest` that is within the limit; at least `start`.

    >>> [largest_doubling(64, 400, limit=limit) for limit in (1, 64, 127, 128, 399, 400, 1000)]
    [64, 64, 64, 128, 256, 400, 400]
    """
    if limit >= largest:
        return largest
    size = start
    while 2 * size <= limit:
        size *= 2
    return size
