"""Runs put in order: groups of the same data and model, series of one recipe, points of one minibatch size, seeds."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from bigbatch.contract import FOR_PEOPLE
from bigbatch.printable import printable
from bigbatch.recipe import NOT_OF_THE_RESULT
from bigbatch.report.idle import without_idle
from bigbatch.report.labels import shortened, variant_label
from bigbatch.run_record import FINISHED, RunRecord, as_text

SIZE: Final = "minibatch_size"
REFERENCE_SIZE: Final = "reference.minibatch_size"
SCALING: Final = "scaling.rule"
OF_THE_SEED: Final = ("seed", "seeds.")
OF_THE_GROUP: Final = ("data.name", "model.name", "model.width", "model.arguments.")
NOT_OF_A_SERIES: Final = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *OF_THE_GROUP)
LONGEST_TITLE: Final = 80
HASH_DIGITS: Final = 8
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
        """The runs that count: finished, with a result, the first with their seed (a repetition is no sample)."""
        first: dict[Fields, RunRecord] = {}
        for run in self.runs:
            if run.state == FINISHED and result_of(run) is not None:
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


@dataclass(frozen=True)
class Series:
    """A recipe at all its minibatch sizes, which rise."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Group:
    """Runs of the same data and model, which can be compared with each other and with no others.

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
    placed = _by_data_and_model(run for run in runs if size_of(run) is not None)
    titles = Counter(_title(members[0]) for members in placed.values())
    groups = [_group(members, titles[_title(members[0])] > 1) for members in placed.values()]
    return sorted(groups, key=lambda group: -len(group.runs)), unplaced


def result_of(run: RunRecord) -> float | None:
    """Return a run's validation error, if it is a percentage."""
    error = run.validation_error
    return error if error is not None and 0 <= error <= WHOLE else None


def size_of(run: RunRecord) -> int | None:
    """Return a run's minibatch size."""
    return _whole_number(run.recipe_fields.get(SIZE))


def seed_of(run: RunRecord) -> Fields:
    """Return what makes two runs of one recipe and size different samples."""
    return tuple((k, repr(v)) for k, v in sorted(run.recipe_fields.items()) if k.startswith(OF_THE_SEED))


def _by_data_and_model(runs: Iterable[RunRecord]) -> dict[tuple[str, str | None], list[RunRecord]]:
    """Return the runs of each model and fingerprint of the data; one that ended before it saw the data joins them."""
    placed: dict[tuple[str, str | None], list[RunRecord]] = {}
    for run in runs:
        model = [(name, repr(value)) for name, value in run.recipe_fields.items() if name.startswith(OF_THE_GROUP)]
        placed.setdefault((repr(sorted(model)), as_text(run.summary.get("data_fingerprint"))), []).append(run)
    for key in [key for key in placed if key[1] is None]:
        kin = [other for other in placed if other[0] == key[0] and other != key]
        if len(kin) == 1:
            placed[kin[0]] += placed.pop(key)
    return placed


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


def _group(runs: Sequence[RunRecord], must_name_data: bool) -> Group:  # noqa: FBT001
    fingerprint = as_text(runs[0].summary.get("data_fingerprint")) or "not recorded"
    suffix = f" (data {printable(fingerprint[:HASH_DIGITS])})" if must_name_data else ""
    series = _series(runs)
    plain = series[0].points[0].runs[0]
    return Group(_title(runs[0]) + suffix, series, _whole_number(plain.recipe_fields.get(REFERENCE_SIZE)))


def _series(runs: Sequence[RunRecord]) -> list[Series]:
    """Return the series of a group: a recipe is what its fields say that are not the same in all runs."""
    varying = _varying(runs)
    members: dict[Fields, list[RunRecord]] = {}
    for run in runs:
        fields = without_idle(run.recipe_fields)
        members.setdefault(tuple((name, repr(fields.get(name))) for name in varying), []).append(run)
    ordered = sorted(members.values(), key=_plainest_first)
    plain = ordered[0][0].recipe_fields
    return [_one_series(some, plain, varying) for some in ordered]


def _varying(runs: Sequence[RunRecord]) -> list[str]:
    tables = [without_idle(run.recipe_fields) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    return [
        name
        for name in names
        if name not in {SIZE, *FOR_PEOPLE}
        and not name.startswith(NOT_OF_A_SERIES)
        and len({repr(table.get(name)) for table in tables}) > 1
    ]


def _plainest_first(runs: Sequence[RunRecord]) -> tuple[bool, int, int, bool, str]:
    """Return what to sort series by: the plain recipe has the reference, the most sizes, the most runs."""
    fields = runs[0].recipe_fields
    sizes = {size_of(run) for run in runs}
    return (
        fields.get(REFERENCE_SIZE) not in sizes,
        -len(sizes),
        -len(runs),
        fields.get(SCALING) != "linear",
        repr(sorted(fields.items(), key=lambda field: field[0])),
    )


def _one_series(runs: Sequence[RunRecord], plain: Mapping[str, object], varying: Sequence[str]) -> Series:
    fields = runs[0].recipe_fields
    idle = fields.keys() - without_idle(fields).keys()
    changed = {n: fields.get(n) for n in varying if repr(fields.get(n)) != repr(plain.get(n)) and n not in idle}
    label = variant_label(changed or {SCALING: fields.get(SCALING)})
    by_size: dict[int, list[RunRecord]] = {}
    for run in runs:
        by_size.setdefault(size_of(run) or 0, []).append(run)
    return Series(label, [Point(label, size, sorted(by_size[size], key=_order)) for size in sorted(by_size)])


def _order(run: RunRecord) -> tuple[int, str, str]:
    seed = run.recipe_fields.get("seed")
    return (seed if isinstance(seed, int) else -1, run.started or "", str(run.path))


def _whole_number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
