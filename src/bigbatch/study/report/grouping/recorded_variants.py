"""Which runs belong to the same variant, where sweeps have recorded the variants' names.

Two sweeps may use one name for different recipes: a variant of the user's own can mean something else in each. And two
sweeps with the same reference may differ in what does nothing there: warmup, scaling, growth.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bigbatch.recipe import NOT_OF_THE_RESULT, switched_on_fields
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.measures import OF_THE_SEED, SIZE, size_of
from bigbatch.study.report.grouping.plainness import METRICS, plainness
from bigbatch.study.variants import PLAIN, VARIANTS

IDLE_AT_REFERENCE: Final = ("scaling.", "warmup.", "growth.", "worker_minibatch_size")  # may differ there
REFERENCE_SIZE: Final = "reference.minibatch_size"


class RecordedVariant(NamedTuple):
    """A variant's name, and which of the recipes that have this name; 0 is the plainest."""

    name: str
    number: int


def recorded_variants(runs: Sequence[RunRecord], names: Mapping[Path, str]) -> dict[Path, RecordedVariant]:
    """Return the variant of every run whose name a sweep has recorded, by the run's path.

    Runs of one name are one variant if their recipes agree, apart from what follows the minibatch size. The references
    of all sweeps belong to the plainest recipe.
    """
    recipes: dict[str, list[dict[str, str]]] = {}
    found: dict[Path, RecordedVariant] = {}
    ours = [run for run in runs if run.path in names]
    for run in sorted(ours, key=lambda run: (*plainness(run), str(run.path))):
        name = names[run.path]
        if name == PLAIN and _is_at_reference(run):
            found[run.path] = RecordedVariant(PLAIN, 0)
            continue
        fields, known = _fields_of(run, name), recipes.setdefault(name, [])
        number = next((i for i, other in enumerate(known) if _agree(fields, other)), len(known))
        known += [{}] if number == len(known) else []
        known[number] |= fields
        found[run.path] = RecordedVariant(name, number)
    return found


def _fields_of(run: RunRecord, name: str) -> dict[str, str]:
    """Return the fields of a run's recipe that do something at some size, and do not follow from the size."""
    following = VARIANTS[name].follows_size if name in VARIANTS else ()
    idle = IDLE_AT_REFERENCE if _is_at_reference(run) else ()
    left_out = (SIZE, *following, *idle, *NOT_OF_THE_RESULT, *OF_THE_SEED, *FOR_PEOPLE, METRICS)
    fields = switched_on_fields(run.recipe_fields).items()
    return {field: repr(value) for field, value in fields if not field.startswith(left_out)}


def _is_at_reference(run: RunRecord) -> bool:
    return size_of(run) == run.recipe_fields.get(REFERENCE_SIZE)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tell whether the fields that both have are equal; a run of an older version has fewer."""
    return all(other[name] == value for name, value in one.items() if name in other)
