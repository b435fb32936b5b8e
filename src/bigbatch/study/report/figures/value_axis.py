"""The axis of a metric's values: logarithmic where lower is better, and an end for what is far worse."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bigbatch.figures import plain_numbers
from bigbatch.recipe.metrics import LOWER, PER_CENT, TOP_1_ERROR, Measure
from bigbatch.study.report.figures.curves import Curve
from bigbatch.study.statistics.possible import possible_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINT: Final = 1.0  # percentage point: percentages nearer than this to the reference are always drawn
BAND: Final = 2  # margins
DECADE: Final = 10
HIGHEST: Final = 2.0  # times the reference's worst value
PADDING: Final = 0.06


@dataclass(frozen=True)
class Ending:
    """Where an axis ends on its worse side.

    Attributes:
        measure: of the axis.
        value: worse ones are written beside the axis instead of drawn.
    """

    measure: Measure
    value: float

    def is_beyond(self, value: float) -> bool:
        """Tell whether a value lies beyond it."""
        return self.measure.cost(value) > self.measure.cost(self.value)

    def worst(self, values: Iterable[float]) -> float:
        """Return the worst of some values."""
        return max(values, key=self.measure.cost)


def ending_of(measure: Measure, reference: float, margin: float | None) -> Ending:
    """Return the end of an axis: twice the reference's value, or half of it where higher is better.

    A share near 100 % ends where it misses that twice as widely as the reference.

    Args:
        measure: of the axis.
        reference: the mean that the others are compared with.
        margin: of a match; the axis shows two of them.

    >>> from bigbatch.recipe.metrics import MEAN_IOU, PERPLEXITY
    >>> ending_of(PERPLEXITY, 6.0, None).value, ending_of(MEAN_IOU, 70.0, 0.5).value
    (12.0, 40.0)
    """
    is_lower = measure.better == LOWER
    missing = min(possible_range(measure)[1] - reference, abs(reference) / 2)
    least = POINT if measure.unit == PER_CENT else 0.0
    distance = max(abs(reference) if is_lower else missing, BAND * (margin or 0), least) or 1.0
    return Ending(measure, reference + distance if is_lower else reference - distance)


def limits_of(measure: Measure, curves: Sequence[Curve], reference: Curve) -> tuple[float, float]:
    """Return the ends of an axis of curves. What diverges goes far beyond; the reference's curve says how far is shown.

    Where lower is better and nothing is below 0, that is twice its worst value, otherwise as much again as it spans.
    What has possible values from 0 to 100 % is shown whole.

    >>> from bigbatch.recipe.metrics import PERPLEXITY
    >>> limits_of(PERPLEXITY, [[(1.0, 4e9), (2.0, 5.0)]], [(1.0, 40.0), (2.0, 6.0)])
    (5.0, 80.0)
    """
    values = [value for curve in (*curves, reference) for _, value in curve]
    if _is_positive(measure, values):
        values = [value for value in values if value > 0] or values
    low, high = min(values), max(values)
    known = [value for _, value in reference]
    if not known or math.inf not in map(abs, possible_range(measure)):
        return low, high
    span = max(known) - min(known)
    if measure.better == LOWER:
        return low, min(high, HIGHEST * max(known) if _is_positive(measure, values) else max(known) + span)
    return max(low, min(known) - span), high


def is_logarithmic(measure: Measure, low: float, high: float, *, judge: Measure) -> bool:
    """Tell whether an axis is logarithmic: for what is the better the nearer to 0, over at least a decade.

    Errors, and the losses beside them, are drawn so over less than a decade too, as in the paper.

    Args:
        measure: of the axis.
        low: the lowest value.
        high: the highest.
        judge: what the runs are judged by.
    """
    return measure.better == LOWER and low > 0 and (judge == TOP_1_ERROR or high >= DECADE * low)


def set_limits(axes: "Axes", measure: Measure, low: float, high: float, *, judge: Measure) -> None:
    """Let an axis of values end around these, logarithmically or not."""
    if is_logarithmic(measure, low, high, judge=judge):
        axes.set(yscale="log", ylim=(0.9 * low, 1.1 * high))
        plain_numbers(axes.yaxis)
    else:
        space = PADDING * (high - low) or 1.0
        axes.set_ylim(low - space, high + space)


def _is_positive(measure: Measure, values: Iterable[float]) -> bool:
    return measure.better == LOWER and all(value >= 0 for value in values)
