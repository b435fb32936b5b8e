"""Points: the runs of one recipe at one minibatch size, and which of them count."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bigbatch.runs.record import FINISHED, RunRecord

SIZE: Final = "minibatch_size"
OF_THE_SEED: Final = ("seed", "seeds.")
WHOLE: Final = 100.0  # %

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    """The runs of one recipe at one minibatch size.

    Attributes:
        series: the label of the recipe.
        minibatch_size: samples per update (kn).
        runs: all of them, whatever came of them, by seed.
    """

    series: str
    minibatch_size: int
    runs: Sequence[RunRecord]

    @cached_property
    def counted(self) -> list[RunRecord]:
        """The runs that count: finished, with a result, the first with their seed (a repetition is no sample).

        One that skipped updates is a sample of another training.
        """
        first: dict[Fields, RunRecord] = {}
        for run in self.runs:
            if run.state == FINISHED and result_of(run) is not None and not run.has_skipped_updates:
                first.setdefault(seed_of(run), run)
        return list(first.values())

    @property
    def errors(self) -> list[float]:
        """Their validation errors in %, a seed each."""
        return [error for run in self.counted if (error := result_of(run)) is not None]

    @property
    def num_diverged(self) -> int:
        """Runs that ended in NaN or infinity."""
        return sum(run.has_diverged for run in self.runs)

    @property
    def key(self) -> tuple[str, int]:
        """What names the point within its group."""
        return self.series, self.minibatch_size


def result_of(run: RunRecord) -> float | None:
    """Return a run's validation error, if it is a percentage."""
    error = run.validation_error
    return error if error is not None and 0 <= error <= WHOLE else None


def size_of(run: RunRecord) -> int | None:
    """Return a run's minibatch size."""
    return whole_number(run.recipe_fields.get(SIZE))


def seed_of(run: RunRecord) -> Fields:
    """Return what makes two runs of one recipe and size different samples."""
    return tuple((k, repr(v)) for k, v in sorted(run.recipe_fields.items()) if k.startswith(OF_THE_SEED))


def whole_number(value: object) -> int | None:
    """Return a value that is a whole number above 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
