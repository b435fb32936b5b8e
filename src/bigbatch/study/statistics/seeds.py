"""How many seeds a verdict needs."""

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bigbatch.errors import InputError
from bigbatch.study.statistics.conditions import check_alpha, check_margin
from bigbatch.study.statistics.student import special_functions
from bigbatch.study.statistics.welch import FEWEST_SEEDS

Floats = npt.NDArray[np.float64]

MOST_SEEDS: Final = 1000
POINTS, WEIGHTS = np.polynomial.legendre.leggauss(16)  # for each variance; twice as many: power changes by < 0.001


def seeds_needed(
    std: float,
    mean_difference: float,
    margin: float,
    *,
    reference_std: float | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    comparisons: int = 1,
) -> int | None:
    """Return how many seeds a side `compare` needs to say "matches" or "worse" with probability `power`.

    It integrates Welch's tests over the two sample variances, which is exact for normal results up to the quadrature.
    The result is the smallest number with that power, as power rises with the seeds wherever it is above a half.
    Where every seed of a size lies far above the reference, `compare` may say "worse" with fewer.

    Args:
        std: standard deviation of the results over seeds.
        mean_difference: how much worse than the reference's the mean truly is; an estimate counts as true. For errors,
            this is the error minus the reference's; where higher is better, the reference's minus the result.
        margin: the largest difference that still counts as a match.
        reference_std: the reference's standard deviation; `std` if None.
        alpha: the level of the tests.
        power: the probability of a verdict.
        comparisons: sizes that are judged together; each is tested at alpha / comparisons, Holm's strictest step.

    Returns:
        Seeds on each side, at least 2; None if 1000 are not enough.

    Raises:
        InputError: a negative or infinite number, a margin that is not positive, `alpha` or `power` out of range, or
            scipy is missing.

    >>> seeds_needed(0.1, 0.0, 0.3), seeds_needed(0.1, 0.3, 0.3), seeds_needed(10.0, 0.0, 0.1)
    (3, 4, None)
    """
    stds = (std, std if reference_std is None else reference_std)
    _check(stds, mean_difference, power, comparisons)
    check_margin(margin)
    check_alpha(alpha)
    if not any(stds):
        return FEWEST_SEEDS
    level = alpha / comparisons
    return _smallest(lambda seeds: settling_power(seeds, stds, mean_difference, margin, level) >= power)


def settling_power(seeds: int, stds: tuple[float, float], mean_difference: float, margin: float, alpha: float) -> float:
    """Return the probability that one comparison with this many seeds a side ends in "matches" or "worse".

    Given the sample variances, it does not if margin - t(1 - alpha) se < difference < t(1 - alpha/2) se.
    """
    special = special_functions()
    standard_errors, degrees, weights = _sampled(seeds, stds, special)
    lowest = margin - special.stdtrit(degrees, 1 - alpha) * standard_errors
    highest = np.maximum(special.stdtrit(degrees, 1 - alpha / 2) * standard_errors, lowest)
    scale = math.hypot(*stds) / math.sqrt(seeds)

    def below(bound: Floats) -> Any:  # noqa: ANN401 - scipy has no types
        return special.ndtr((bound - mean_difference) / scale)

    return 1 - float(weights @ (below(highest) - below(lowest)))


def _sampled(seeds: int, stds: tuple[float, float], special: Any) -> tuple[Floats, Floats, Floats]:  # noqa: ANN401
    """Return standard errors, degrees of freedom and probabilities for a grid of the two sample variances."""
    variance = 2 * special.gammaincinv((seeds - 1) / 2, (POINTS + 1) / 2) / (seeds - 1)
    scale = math.hypot(*stds)
    first, second = ((std / scale) ** 2 * variance for std in stds)
    total = first[:, None] + second[None, :]
    share = first[:, None] / total
    degrees = (seeds - 1) / (share**2 + (1 - share) ** 2)
    weights = np.outer(WEIGHTS, WEIGHTS) / 4
    return scale * np.sqrt(total / seeds).ravel(), degrees.ravel(), weights.ravel()


def _smallest(enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number of seeds that is enough, by bisection."""
    counts = range(FEWEST_SEEDS, MOST_SEEDS + 1)
    place = bisect_left(counts, True, key=enough)  # noqa: FBT003 - the first for which it is true
    return counts[place] if place < len(counts) else None


def _check(stds: tuple[float, float], mean_difference: float, power: float, comparisons: int) -> None:
    if not all(math.isfinite(std) and std >= 0 for std in stds) or not math.isfinite(mean_difference):
        msg = f"stds {stds} and mean difference {mean_difference} must be finite, and no std negative"
        raise InputError(msg)
    if not 0 < power < 1 or comparisons < 1:
        msg = f"power {power} must lie between 0 and 1 (0.8 is usual), and comparisons {comparisons} be at least 1"
        raise InputError(msg)
