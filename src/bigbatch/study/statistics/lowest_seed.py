"""Is every seed of a size far worse than the reference? A prediction limit for the lowest of their costs.

Results are counted as costs here: errors are such, and accuracies are taken with the opposite sign.

Where training partly fails, some seeds fail more than others. Their errors spread widely, and Welch's test with few
seeds shows nothing. A log scale does not mend that. A failed size of 68.62 ± 21.91 % spreads 176 times as widely as its
reference of 8.29 ± 0.12 %, and the logarithms still 24 times. So this test does not use the spread of the size. It asks
how likely it is that the spread of the reference alone puts all seeds so far up.

How often "worse" is found for that failed size, with three seeds a side (benchmarks/results/verdict_rates.md):

=================================  ======  ========
Welch's test on                    1 size  15 sizes
=================================  ======  ========
the errors                         74 %    10 %
their logarithms                   95 %    42 %
their logits                       82 %    10 %
the arcsines of their roots        78 %    10 %
the errors, or this test           99 %    99 %
=================================  ======  ========

Student's test with the reference's spread alone finds them all. But it also calls 14 % of those sizes "worse" that
differ in spread only (4 times, three seeds a side; 23 % with ten).

Source: Davis and McNichols 1987, Technometrics 29: 359-370: a limit that at least one of n observations stays below,
for each of several sizes. Here the seeds of a size may spread more widely than those of the reference.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from bigbatch.study.statistics.student import special_functions

WIDEST_SPREAD: Final = 4  # times the reference's; in benchmarks/results no size that is not worse spreads 2.2 times
NEAR: Final = 2.0  # standard deviations; nearer than this, many seeds with little spread could be "worse" by chance
GRID, GRID_WEIGHTS = np.polynomial.legendre.leggauss(32)
LEVELS: Final = ((GRID + 1) / 2) ** 4  # of the reference's variance; dense near 0, where a spread is estimated too low
LEVEL_WEIGHTS: Final = 2 * ((GRID + 1) / 2) ** 3 * GRID_WEIGHTS
MEANS, MEAN_WEIGHTS = np.polynomial.hermite_e.hermegauss(16)  # of the reference's mean


def p_all_above(distance: float, counts: Sequence[int], reference_count: int) -> float:
    """Return the probability that any size has all its seeds so far above the reference's mean, by chance.

    It is computed for normal errors with one mean, where the sizes' seeds spread 4 times as widely as the reference's.
    Up to that spread, the test keeps its level for all sizes together. It is 1 for two standard deviations or less.

    Args:
        distance: of a size's lowest seed from the reference's mean, in standard deviations of the reference's seeds.
        counts: seeds of each size that is judged.
        reference_count: seeds of the reference, at least 2.

    Raises:
        InputError: scipy is not installed.

    >>> round(p_all_above(10.0, [3], 3), 4), round(p_all_above(10.0, [3] * 6, 3), 4)
    (0.004, 0.0215)
    """
    special = special_functions()
    if distance <= NEAR:
        return 1.0
    spread = np.sqrt(2 * special.gammaincinv((reference_count - 1) / 2, LEVELS) / (reference_count - 1))
    above = special.ndtr(-(MEANS[:, None] / math.sqrt(reference_count) + distance * spread) / WIDEST_SPREAD)
    nowhere = np.prod([1 - above**count for count in counts], axis=0)
    return float(MEAN_WEIGHTS @ (1 - nowhere) @ LEVEL_WEIGHTS / MEAN_WEIGHTS.sum())
