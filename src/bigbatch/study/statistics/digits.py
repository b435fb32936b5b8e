"""How many digits of a metric's values are shown: one format for all numbers of a study."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from bigbatch.recipe.metrics import PER_CENT, Measure
from bigbatch.study.statistics.summary import Summary, summarise

TWO_DECIMALS: Final = ".2f"  # of percentages, as in the paper
OF_THE_SPREAD, OF_ONE_RUN, MOST = 2, 4, 6  # significant digits
SMALLEST, LARGEST = 1e-5, 1e9  # of numbers that are written without a power of ten


def digits_of(measure: Measure, summary: Summary | None) -> str:
    """Return the format of a study's numbers: two decimals of percentages, else two digits of the seeds' spread.

    Args:
        measure: what is measured.
        summary: of the reference, or of whatever is shown; None if there is nothing.

    >>> from bigbatch.recipe.metrics import MEAN_LOSS, TOP_1_ERROR
    >>> [digits_of(MEAN_LOSS, Summary(3, mean, std)) for mean, std in ((6.3, 0.04), (912.0, 31.0), (2e-7, 1e-8))]
    ['.3f', '.0f', '.2e']
    >>> digits_of(MEAN_LOSS, Summary(1, 6.3, None)), digits_of(TOP_1_ERROR, None)
    ('.3f', '.2f')
    """
    if measure.unit == PER_CENT or summary is None:
        return TWO_DECIMALS
    size = max(abs(summary.mean), summary.std or 0.0)
    if size and not SMALLEST <= size < LARGEST:
        return ".2e"
    of_the_mean = _decimals(size, OF_ONE_RUN)
    wanted = _decimals(summary.std, OF_THE_SPREAD) if summary.std else of_the_mean
    return f".{max(0, min(wanted, _decimals(size, MOST)))}f"


def digits_of_points(measure: Measure, results: Iterable[Sequence[float]]) -> str:
    """Return the format of a study's numbers from the results of its points, the reference's first."""
    first = next((point for point in results if point), None)
    return digits_of(measure, summarise(first) if first else None)


def _decimals(number: float, significant: int) -> int:
    """Return how many decimals show so many digits of a number."""
    return significant - 1 - math.floor(math.log10(number)) if number else significant - 1
