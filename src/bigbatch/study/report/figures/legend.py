"""The legend below a figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def legend_below(figure: "Figure", axes: "Axes") -> None:
    """Write the labels of the axes below the figure, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns_for(labels))


def columns_for(labels: Sequence[str]) -> int:
    """Return how many columns of a legend fit under a figure.

    >>> columns_for(["linear", "no warmup"]), columns_for(["x" * 60])
    (3, 1)
    """
    longest = max(map(len, labels), default=0)
    return next(columns for columns, most in ((3, 28), (2, 46), (1, longest)) if longest <= most)
