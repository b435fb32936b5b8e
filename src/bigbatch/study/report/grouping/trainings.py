"""Which runs of sweeps are one training at several sizes: those of a variant whose recipes agree, whatever their size.

Two sweeps with the same reference may still differ in what does nothing there: in warmup, scaling or growth, or in what
the user's own variants mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bigbatch.recipe import NOT_OF_THE_RESULT, switched_on_fields
from bigbatch.runs.contract import FOR_PEOPLE
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.plainness import plainness
from bigbatch.study.report.grouping.points import OF_THE_SEED, SIZE, size_of
from bigbatch.study.variants import PLAIN, VARIANTS

IDLE_AT_REFERENCE: Final = ("scaling.", "warmup.", "growth.", "worker_minibatch_size")  # may differ there
REFERENCE_SIZE: Final = "reference.minibatch_size"


class Training(NamedTuple):
    """A variant, and which of the trainings of that name, counted from 0, the plainest."""

    variant: str
    number: int


def trainings_of(runs: Sequence[RunRecord], variants: Mapping[Path, str]) -> dict[Path, Training]:
    """Return the training of every run of a sweep. Of all sweeps the references are one: that of the plainest."""
    known: dict[str, list[dict[str, str]]] = {}
    found: dict[Path, Training] = {}
    ours = [run for run in runs if run.path in variants]
    for run in sorted(ours, key=lambda run: (*plainness(run), str(run.path))):
        variant = variants[run.path]
        if variant == PLAIN and _is_at_reference(run):
            found[run.path] = Training(PLAIN, 0)
            continue
        said, others = _said(run, variant), known.setdefault(variant, [])
        number = next((i for i, other in enumerate(others) if _agree(said, other)), len(others))
        others += [{}] if number == len(others) else []
        others[number] |= said
        found[run.path] = Training(variant, number)
    return found


def _said(run: RunRecord, variant: str) -> dict[str, str]:
    """Return what a run's recipe says that does something at some size, and does not follow from the size."""
    following = VARIANTS[variant].follows_size if variant in VARIANTS else ()
    idle = IDLE_AT_REFERENCE if _is_at_reference(run) else ()
    left_out = (SIZE, *following, *idle, *NOT_OF_THE_RESULT, *OF_THE_SEED, *FOR_PEOPLE)
    fields = switched_on_fields(run.recipe_fields).items()
    return {name: repr(value) for name, value in fields if not name.startswith(left_out)}


def _is_at_reference(run: RunRecord) -> bool:
    return size_of(run) == run.recipe_fields.get(REFERENCE_SIZE)


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Tell whether what both say is the same; a run of an older version says less."""
    return all(other[name] == value for name, value in one.items() if name in other)
