"""What margins, levels and confidences must be."""

import math

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import Measure
from bigbatch.study.statistics.possible import possible_range


def check_margin(margin: float, measure: Measure | None = None) -> None:
    """Raise InputError unless the margin is finite and above 0, and no wider than the metric's possible values."""
    if measure is not None:
        low, high = possible_range(measure)
        if margin > high - low:
            msg = f"margin {margin:g} is no margin: a {measure.label} lies between {low:g} and {high:g} {measure.unit}"
            raise InputError(msg)
    if not (math.isfinite(margin) and margin > 0):
        msg = f"margin {margin} is not above 0; state the largest difference that counts as a match"
        raise InputError(msg)


def check_alpha(alpha: float) -> None:
    """Raise InputError unless alpha lies between 0 and 0.5."""
    if not 0 < alpha < 0.5:  # noqa: PLR2004 - the 1 - 2 alpha interval must exist
        msg = f"alpha {alpha} is not between 0 and 0.5; 0.05 is usual"
        raise InputError(msg)


def check_confidence(confidence: float) -> None:
    """Raise InputError unless the confidence lies between 0 and 1."""
    if not 0 < confidence < 1:
        msg = f"confidence {confidence} is not between 0 and 1; 0.95 is usual"
        raise InputError(msg)
