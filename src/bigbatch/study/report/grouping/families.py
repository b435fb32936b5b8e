"""Which runs can be compared: those of one sweep, and those of the same data and model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.recipe import NOT_OF_THE_RESULT, effective_fields
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord, as_text
from bigbatch.study.report.grouping.points import OF_THE_SEED

OF_THE_GROUP: Final = ("data.name", "model.name", "model.width", "model.arguments.")


@dataclass(frozen=True)
class Family:
    """Runs that can be compared with each other.

    Attributes:
        runs: themselves.
        variants: of the runs of sweeps, what these recorded.
    """

    runs: Sequence[RunRecord]
    variants: Mapping[Path, str]


def find_families(runs: Sequence[RunRecord]) -> list[Family]:
    """Return the runs of each data set and model.

    A sweep's runs belong to its reference whatever model they vary, and so do those of another sweep with the same
    reference. What a sweep recorded counts where its reference is among the runs.
    """
    references: dict[Path, str] = {}
    of_models: dict[str, str] = {}
    for run in runs:
        if run.summary.get("is_reference") is True and _variant_of(run):
            recipe = _recipe_of(run)
            references.setdefault(run.path.parent, recipe)
            of_models.setdefault(_model_of(run), recipe)
    variants = {run.path: variant for run in runs if (variant := _variant_of(run)) and run.path.parent in references}
    placed: dict[tuple[str, str | None], list[RunRecord]] = {}
    for run in runs:
        model = _model_of(run)
        name = references[run.path.parent] if run.path in variants else of_models.get(model, model)
        placed.setdefault((name, as_text(run.summary.get("data_fingerprint"))), []).append(run)
    return [Family(members, variants) for members in _joined(placed)]


def _joined(placed: dict[tuple[str, str | None], list[RunRecord]]) -> Iterable[list[RunRecord]]:
    """Let runs that ended before they saw the data join their kin, if there is only one."""
    for key in [key for key in placed if key[1] is None]:
        kin = [other for other in placed if other[0] == key[0] and other != key]
        if len(kin) == 1:
            placed[kin[0]] += placed.pop(key)
    return placed.values()


def _variant_of(run: RunRecord) -> str | None:
    """Return what a sweep recorded of a run; a sweep sums exactly."""
    return None if run.summary.get("reduction") == NATIVE else as_text(run.summary.get("variant"))


def _model_of(run: RunRecord) -> str:
    return repr(sorted((name, repr(v)) for name, v in run.recipe_fields.items() if name.startswith(OF_THE_GROUP)))


def _recipe_of(run: RunRecord) -> str:
    """Return what its training depends on, seeds aside."""
    fields = effective_fields(run.recipe_fields)
    left_out = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *FOR_PEOPLE)
    return repr(sorted((name, repr(value)) for name, value in fields.items() if not name.startswith(left_out)))
