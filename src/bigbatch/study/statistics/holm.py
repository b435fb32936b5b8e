"""Several tests at once: Holm's step-down (Holm 1979, Scand. J. Statist. 6: 65-70)."""

from collections.abc import Sequence
from itertools import accumulate


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Return adjusted p-values. If all up to alpha are rejected, any false rejection has probability <= alpha.

    The i-th smallest of m (from 0) becomes the largest so far of (m - i) * p, and at most 1. This holds for any
    dependence between the tests, which here share the reference's runs. It is never weaker than Bonferroni's m * p.

    >>> holm_adjusted([0.25, 0.01, 0.125])
    [0.25, 0.03, 0.25]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    scaled = (min(1.0, (len(order) - rank) * p_values[index]) for rank, index in enumerate(order))
    adjusted = dict(zip(order, accumulate(scaled, max), strict=True))
    return [adjusted[index] for index in range(len(order))]
