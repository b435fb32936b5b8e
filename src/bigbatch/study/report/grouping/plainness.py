"""How plain a recipe is: what of it does something, and how much of that is not as its preset has it."""

from typing import Final

from bigbatch.recipe import NOT_OF_THE_RESULT, effective_fields, flat_fields
from bigbatch.recipe.presets import PRESETS
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.families import OF_THE_GROUP
from bigbatch.study.report.grouping.points import OF_THE_SEED, SIZE

SCALING: Final = "scaling.rule"
LINEAR: Final = "linear"
REDUCTION: Final = "reduction"
NOT_OF_A_SERIES: Final = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *OF_THE_GROUP)


def series_fields(run: RunRecord) -> dict[str, object]:
    """Return what of a run does something and tells series apart; a sum that is not exact does."""
    fields = effective_fields(run.recipe_fields)
    own = {n: v for n, v in fields.items() if n not in {SIZE, *FOR_PEOPLE} and not n.startswith(NOT_OF_A_SERIES)}
    return {**own, REDUCTION: NATIVE if run.summary.get("reduction") == NATIVE else "exact"}


def plainness(run: RunRecord) -> tuple[bool, int]:
    """Return what to sort recipes by: linear scaling first, then those nearest to the preset whose name they have."""
    fields = series_fields(run)
    return fields.get(SCALING, LINEAR) != LINEAR or fields[REDUCTION] == NATIVE, len(unusual(run))


def unusual(run: RunRecord) -> set[str]:
    """Return the fields that are not as in the preset whose name the recipe has."""
    preset = PRESETS.get(str(run.recipe_fields.get("name")))
    usual = flat_fields(preset().to_dict()) if preset else run.recipe_fields
    fields = series_fields(run).items()
    return {name for name, value in fields if name != REDUCTION and repr(value) != repr(usual.get(name))}
