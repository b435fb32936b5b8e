"""Which results can be compared at all: those of one metric, measured in one way."""

from collections.abc import Mapping
from typing import Final

from bigbatch.recipe.metrics import MEAN_LOSS, PERPLEXITY, Measure

BY_THE_LOSS: Final = {MEAN_LOSS: ("objective", "loss"), PERPLEXITY: ("objective",)}  # fields that say what is measured


def measured_by(measure: Measure, fields: Mapping[str, object]) -> str:
    """Return the user's code, or the loss, that decides what a metric measures; two results must agree in it.

    Args:
        measure: by which a run is judged.
        fields: of its recipe, each as `section.field`.

    >>> fields = {"loss": "token-cross-entropy", "objective": ""}
    >>> measured_by(MEAN_LOSS, fields), measured_by(PERPLEXITY, fields)
    ('token-cross-entropy', '')
    """
    names = (fields.get("evaluation.predict"), *(fields.get(name) for name in BY_THE_LOSS.get(measure, ())))
    return str(next(filter(None, names), ""))
