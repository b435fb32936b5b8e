"""The values that a metric can have: no interval goes beyond them."""

import math
from collections.abc import Mapping
from typing import Final

from bigbatch.recipe.metrics import AVERAGE_PRECISIONS, MEAN_IOU, PERPLEXITY, TOP_1_ERROR, TOP_5_ERROR, Measure

ANY: Final = (-math.inf, math.inf)
SHARE: Final = (0.0, 100.0)  # %
RANGES: Final[Mapping[Measure, tuple[float, float]]] = {
    **dict.fromkeys((TOP_1_ERROR, TOP_5_ERROR, MEAN_IOU, *AVERAGE_PRECISIONS), SHARE),
    PERPLEXITY: (0.0, math.inf),
}


def possible_range(measure: Measure) -> tuple[float, float]:
    """Return the lowest and the highest possible value; of a metric of the user's own, any.

    >>> possible_range(TOP_1_ERROR), possible_range(Measure("word-error-rate", "%", "lower"))
    ((0.0, 100.0), (-inf, inf))
    """
    return RANGES.get(measure, ANY)


def is_possible(measure: Measure, value: float) -> bool:
    """Tell whether a metric can have such a value; none is NaN or infinite."""
    low, high = possible_range(measure)
    return math.isfinite(value) and low <= value <= high
