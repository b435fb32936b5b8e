"""The axis of the minibatch size: logarithmic to base 2, with a tick at each size that was run."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAREST: Final = 0.6  # doublings between two labels that do not touch
LEFT, RIGHT = 0.5, 0.9  # doublings beside the smallest and the largest size


def size_axis(axes: "Axes", sizes: Iterable[int], *, labels: bool = True) -> None:
    """Make the x axis one of minibatch sizes."""
    from matplotlib.ticker import NullLocator

    ordered = sorted(set(sizes))
    ticks = spaced(ordered)
    axes.set_xscale("log", base=2)
    axes.set_xlim(ordered[0] / 2**LEFT, ordered[-1] * 2**RIGHT)
    axes.set_xticks(ticks, [short_size(size) if labels else "" for size in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    if labels:
        axes.set_xlabel("minibatch size")


def spaced(sizes: list[int]) -> list[int]:
    """Return the sizes whose labels have room, the smaller of two that are near.

    >>> spaced([64, 96, 100, 128, 192])
    [64, 100, 192]
    """
    ticks: list[int] = []
    for size in sizes:
        if not ticks or math.log2(size / ticks[-1]) >= NEAREST:
            ticks.append(size)
    return ticks


def short_size(size: int) -> str:
    """Return a minibatch size as the paper's axes have it.

    >>> short_size(512), short_size(8192), short_size(1500)
    ('512', '8k', '1500')
    """
    return f"{size // 1024}k" if size >= 1024 and size % 1024 == 0 else str(size)  # noqa: PLR2004
