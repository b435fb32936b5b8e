"""Results as costs: the lower, the better. All tests work on costs, and what is shown is turned back."""

from collections.abc import Sequence
from dataclasses import replace

from bigbatch.recipe.metrics import LOWER, Measure
from bigbatch.study.statistics.summary import Summary
from bigbatch.study.statistics.welch import Difference


def sign_of(measure: Measure) -> int:
    """Return what a result is multiplied by to become a cost, and a cost to become a result: 1 or -1."""
    return 1 if measure.better == LOWER else -1


def costs_of(results: Sequence[float], measure: Measure) -> list[float]:
    """Return results as costs.

    >>> from bigbatch.recipe.metrics import MEAN_IOU
    >>> costs_of([98.5, 99.0], MEAN_IOU)
    [-98.5, -99.0]
    """
    return [sign_of(measure) * float(result) for result in results]


def cost_summary(summary: Summary, measure: Measure) -> Summary:
    """Return the summary of the results' costs."""
    return replace(summary, mean=sign_of(measure) * summary.mean)


def as_results(costs: Difference, measure: Measure) -> Difference:
    """Return a difference of costs as one of results."""
    return costs if measure.better == LOWER else mirrored(costs)


def mirrored(difference: Difference) -> Difference:
    """Return the difference the other way round: minuend and subtrahend exchanged."""
    return Difference(-difference.mean, -difference.high, -difference.low, difference.confidence)
