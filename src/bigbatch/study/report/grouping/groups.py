"""Runs put in order: groups that can be compared, series of one recipe, points of one minibatch size, seeds."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bigbatch.printable import printable
from bigbatch.runs.record import RunRecord, as_text
from bigbatch.study.report.grouping.families import Family, find_families
from bigbatch.study.report.grouping.labels import shortened
from bigbatch.study.report.grouping.points import Point, size_of
from bigbatch.study.report.grouping.series import Series, reference_size_of, split_into_series

LONGEST_TITLE: Final = 80
HASH_DIGITS: Final = 8


@dataclass(frozen=True)
class Group:
    """Runs of one sweep, or of the same data and model, which can be compared with each other and with no others.

    Attributes:
        title: the data and the model, in words.
        series: the plain recipe first, then its variants.
        reference_size: the minibatch size of the reference; None if no recipe says one.
    """

    title: str
    series: Sequence[Series]
    reference_size: int | None

    @property
    def points(self) -> list[Point]:
        """All points, the plain recipe's first."""
        return [point for series in self.series for point in series.points]

    @property
    def runs(self) -> list[RunRecord]:
        """All runs, in the order of the points."""
        return [run for point in self.points for run in point.runs]

    @property
    def reference(self) -> Point | None:
        """The plain recipe at the reference's minibatch size, if any run is of it."""
        return next((p for p in self.series[0].points if p.minibatch_size == self.reference_size), None)


def group_runs(runs: Iterable[RunRecord]) -> tuple[list[Group], list[RunRecord]]:
    """Return the groups, the largest first, and the runs that belong to none: their recipe says no minibatch size."""
    runs = list(runs)
    unplaced = [run for run in runs if size_of(run) is None]
    made = [_group(family) for family in find_families([run for run in runs if size_of(run) is not None])]
    titles = Counter(group.title for group in made)
    groups = [_with_data(group) if titles[group.title] > 1 else group for group in made]
    titles = Counter(group.title for group in groups)
    groups = [_with_folder(group) if titles[group.title] > 1 else group for group in groups]
    return sorted(groups, key=lambda group: -len(group.runs)), unplaced


def _group(family: Family) -> Group:
    series = split_into_series(family.runs, family.variants)
    return Group(_title(series[0].points[0].runs[0]), series, reference_size_of(series[0]))


def _title(run: RunRecord) -> str:
    fields = run.recipe_fields
    width = f" of width {fields['model.width']}" if fields.get("model.width") else ""
    arguments = "".join(
        f", {name.removeprefix('model.arguments.')} {value}"
        for name, value in fields.items()
        if name.startswith("model.arguments.")
    )
    text = f"{fields.get('data.name', 'unknown data')} with {fields.get('model.name', 'an unknown model')}{width}"
    return shortened(printable(text + arguments), LONGEST_TITLE)


def _with_data(group: Group) -> Group:
    """Return a group whose title also says which data it is of: others have the same name."""
    plain = group.runs[0]
    fingerprint = as_text(plain.summary.get("data_fingerprint")) or "not recorded"
    return replace(group, title=f"{group.title} (data {printable(fingerprint[:HASH_DIGITS])})")


def _with_folder(group: Group) -> Group:
    """Return a group whose title also says where its runs are: sweeps with other references have the same data."""
    folder = printable(group.runs[0].path.parent.name)
    return replace(group, title=f"{group.title}, in {shortened(folder, LONGEST_TITLE)}")
