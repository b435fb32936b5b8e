"""The axis of a metric's values: logarithmic where lower is better, and an end for what is far worse."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bigbatch.recipe.metrics import LOWER, PER_CENT, Measure
from bigbatch.study.report.figures.curves import Curve
from bigbatch.study.statistics.possible import possible_range

POINT: Final = 1.0  # percentage point: percentages nearer than this to the reference are always drawn
BAND: Final = 2  # margins
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
    """Return the end of an axis: twice the reference's error, or for a share of 100 % what misses it twice as widely.

    Args:
        measure: of the axis.
        reference: the mean that the others are compared with.
        margin: of a match; the axis shows two of them.

    >>> from bigbatch.recipe.metrics import MEAN_IOU, PERPLEXITY
    >>> ending_of(PERPLEXITY, 6.0, None).value, ending_of(MEAN_IOU, 70.0, 0.5).value
    (12.0, 40.0)
    """
    is_lower = measure.better == LOWER
    highest = possible_range(measure)[1]
    missing = highest - reference if highest < math.inf else abs(reference) / 2
    least = POINT if measure.unit == PER_CENT else 0.0
    distance = max(abs(reference) if is_lower else missing, BAND * (margin or 0), least) or 1.0
    return Ending(measure, reference + distance if is_lower else reference - distance)


def limits_of(measure: Measure, curves: Sequence[Curve], reference: Curve) -> tuple[float, float]:
    """Return the ends of an axis of curves. What diverges goes far beyond; the reference's curve says how far is shown.

    On a logarithmic axis that is twice its worst value, otherwise as much again as it spans. What has possible values
    from 0 to 100 % is shown whole.

    >>> from bigbatch.recipe.metrics import PERPLEXITY
    >>> [round(end, 3) for end in limits_of(PERPLEXITY, [[(1.0, 4e9), (2.0, 5.0)]], [(1.0, 40.0), (2.0, 6.0)])]
    [4.5, 88.0]
    """
    values = [value for curve in (*curves, reference) for _, value in curve]
    known = [value for _, value in reference]
    is_logarithm = is_logarithmic(measure, (*curves, reference))
    if is_logarithm:
        values = [value for value in values if value > 0]
    low, high = min(values), max(values)
    if known and math.inf in map(abs, possible_range(measure)):
        span = max(known) - min(known)
        if is_logarithm:
            high = min(high, HIGHEST * max(known))
        elif measure.better == LOWER:
            high = min(high, max(known) + span)
        else:
            low = max(low, min(known) - span)
    space = PADDING * (high - low)
    return (0.9 * low, 1.1 * high) if is_logarithm else (low - space, high + space)


def is_logarithmic(measure: Measure, curves: Iterable[Curve]) -> bool:
    """Tell whether curves belong on a logarithmic axis: lower is better, and none is below 0."""
    return measure.better == LOWER and all(value >= 0 for curve in curves for _, value in curve)
