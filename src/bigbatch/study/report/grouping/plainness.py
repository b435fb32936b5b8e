"""How plain a recipe is: how many of its fields do something and differ from the preset's."""

from collections.abc import Mapping
from typing import Final

from bigbatch.recipe import NOT_OF_THE_RESULT, effective_fields, flat_fields
from bigbatch.recipe.presets import PRESETS
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.measures import OF_THE_SEED, SIZE

DATA_AND_MODEL: Final = ("data.name", "model.name", "model.width", "model.arguments.")
SCALING: Final = "scaling.rule"
LINEAR: Final = "linear"
REDUCTION: Final = "reduction"
METRICS: Final = "metrics"  # a study has one that judges; the others change nothing
NOT_OF_A_SERIES: Final = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *DATA_AND_MODEL, METRICS)


def series_fields(run: RunRecord) -> dict[str, object]:
    """Return the fields of a run that do something and tell series apart; the kind of reduction is one of them."""
    fields = _of_a_series(effective_fields(run.recipe_fields))
    return {**fields, REDUCTION: NATIVE if run.summary.reduction == NATIVE else "exact"}


def given_fields(run: RunRecord) -> dict[str, object]:
    """Return the fields of a run that tell series apart, also those that do nothing at its size."""
    return _of_a_series(run.recipe_fields)


def _of_a_series(fields: Mapping[str, object]) -> dict[str, object]:
    return {n: v for n, v in fields.items() if n not in {SIZE, *FOR_PEOPLE} and not n.startswith(NOT_OF_A_SERIES)}


def plainness(run: RunRecord) -> tuple[bool, int]:
    """Return a sort key: linear scaling comes first, then the recipes nearest to the preset of the same name."""
    fields = series_fields(run)
    return fields.get(SCALING, LINEAR) != LINEAR or fields[REDUCTION] == NATIVE, len(unusual(run))


def unusual(run: RunRecord) -> set[str]:
    """Return the fields that differ from the preset of the recipe's name."""
    preset = PRESETS.get(str(run.recipe_fields.get("name")))
    usual = flat_fields(preset().to_dict()) if preset else run.recipe_fields
    fields = series_fields(run).items()
    return {name for name, value in fields if name != REDUCTION and repr(value) != repr(usual.get(name))}
