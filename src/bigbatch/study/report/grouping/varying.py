"""The facts in which the runs of a study differ, and whether the contract says that they cannot matter."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bigbatch.runs.contract import facts_of, in_words, is_inside
from bigbatch.runs.record import RunRecord

MOST_VALUES: Final = 12


@dataclass(frozen=True)
class Varying:
    """A fact in which runs differ.

    Attributes:
        name: of the recipe's field, or of what the attempt recorded.
        values: each value in words, and how many runs have it.
        can_matter: whether the contract allows that the bits depend on it.
        is_of_the_recipe: whether it is a field of the recipe.
    """

    name: str
    values: Sequence[tuple[str, int]]
    can_matter: bool
    is_of_the_recipe: bool

    @property
    def text(self) -> str:
        """The values in words, with their numbers of runs."""
        shown = [f"{value} ({count})" for value, count in self.values[:MOST_VALUES]]
        more = len(self.values) - MOST_VALUES
        return "; ".join([*shown, f"and {more} more"] if more > 0 else shown)


def find_varying(runs: Sequence[RunRecord]) -> list[Varying]:
    """Return the facts that are not the same in all runs, the recipe's first."""
    facts = [facts_of(run) for run in runs]
    names = dict.fromkeys(name for table in facts for name in table)
    varying = [name for name in names if len({repr(table.get(name)) for table in facts}) > 1]
    return [_varying(name, runs, [table.get(name) for table in facts]) for name in varying]


def _varying(name: str, runs: Sequence[RunRecord], values: Sequence[object]) -> Varying:
    others = [run for run, value in zip(runs, values, strict=True) if repr(value) != repr(values[0])]
    return Varying(
        name,
        Counter(map(in_words, values)).most_common(),
        can_matter=not all(is_inside(name, runs[0], other) for other in others),
        is_of_the_recipe=any(name in run.recipe_fields for run in runs),
    )


def warnings_of(varying: Sequence[Varying]) -> list[str]:
    """Return the names of the facts outside the recipe that differ and can change a result."""
    return [fact.name for fact in varying if fact.can_matter and not fact.is_of_the_recipe]
