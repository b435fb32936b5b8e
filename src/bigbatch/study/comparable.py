"""Which results can be compared at all: those of one metric, and where it measures the loss, of one loss."""

from collections.abc import Mapping
from typing import Final

from bigbatch.recipe.metrics import MEAN_LOSS, PERPLEXITY, Measure

OF_THE_LOSS: Final = (MEAN_LOSS, PERPLEXITY)  # metrics that measure what the recipe's loss says


def what_is_measured(measure: Measure, fields: Mapping[str, object]) -> tuple[Measure, str]:
    """Return what must be equal for two results to be compared.

    Args:
        measure: by which a run is judged.
        fields: of its recipe, each as `section.field`.

    >>> what_is_measured(PERPLEXITY, {"loss": "token-cross-entropy"})[1]
    'token-cross-entropy'
    """
    if measure not in OF_THE_LOSS:
        return measure, ""
    return measure, str(fields.get("objective") or fields.get("loss") or "")
