"""Series and points: which runs are of one recipe at all sizes, and which of one configuration.

A study has series, a series has points, and a point has runs, which differ only in their seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bigbatch.printable import printable
from bigbatch.runs.record import FINISHED, RunRecord
from bigbatch.study.configuration import Configuration
from bigbatch.study.report.grouping.labels import variant_label
from bigbatch.study.report.grouping.measures import result_of, seeds_of, size_of, whole_number
from bigbatch.study.report.grouping.plainness import REDUCTION, SCALING, given_fields, plainness, series_fields, unusual
from bigbatch.study.report.grouping.recorded_variants import REFERENCE_SIZE, RecordedVariant, recorded_variants
from bigbatch.study.variants import PLAIN

WORKER_SIZE: Final = "worker_minibatch_size"

Fields = frozenset[tuple[str, str]]  # of a recipe: those that do something and tell series apart
SeriesKey = RecordedVariant | Fields


@dataclass(frozen=True)
class Point:
    """The runs of one configuration: a point in a figure, a row in a table.

    Attributes:
        series: the label of its series.
        minibatch_size: samples per update (kn).
        runs: all of them, in any state, by seed.
    """

    series: str
    minibatch_size: int
    runs: Sequence[RunRecord]

    @cached_property
    def counted(self) -> list[RunRecord]:
        """The runs that count in means: finished, with a result, and the first of their seed.

        A repetition of a seed is no further sample. A run that skipped updates is a sample of another training.
        """
        first: dict[object, RunRecord] = {}
        for run in self.runs:
            if run.state == FINISHED and result_of(run) is not None and not run.has_skipped_updates:
                first.setdefault(seeds_of(run), run)
        return list(first.values())

    @property
    def results(self) -> list[float]:
        """The results of the runs that count, one for each seed."""
        return [result for run in self.counted if (result := result_of(run)) is not None]

    @property
    def num_diverged(self) -> int:
        """The number of runs that ended in NaN or infinity."""
        return sum(run.has_diverged for run in self.runs)

    @property
    def configuration(self) -> Configuration:
        """The series and the minibatch size, which name the point within its study."""
        return Configuration(self.series, self.minibatch_size)


@dataclass(frozen=True)
class Series:
    """A recipe, or a variant of it, at all its minibatch sizes; the sizes rise from point to point."""

    label: str
    points: Sequence[Point]


def split_into_series(runs: Sequence[RunRecord], variants: Mapping[Path, str]) -> list[Series]:
    """Return the series of runs that can be compared, the plain recipe first.

    Args:
        runs: at least one.
        variants: the variants that sweeps have recorded, by a run's path. Each is one series, even if it sets a field
            to another value at each size.
    """
    by_fields: dict[Fields, list[RunRecord]] = {}
    for run in runs:
        by_fields.setdefault(_fields_of(run), []).append(run)
    fuller, recorded = _fuller_fields(by_fields), recorded_variants(runs, variants)
    names = {fields: name for fields, some in by_fields.items() if (name := _recorded_name(some, recorded))}
    members: dict[SeriesKey, list[RunRecord]] = {}
    for fields, some in by_fields.items():
        own = fields if fields in names else fuller[fields]
        for run in some:
            members.setdefault(recorded.get(run.path, names.get(own, own)), []).append(run)
    ordered = sorted(members.items(), key=lambda item: (not _is_plain(item[0]), *_plainest_first(item[1])))
    labels = _labels(ordered)
    return [_one_series(label, some) for label, (_, some) in zip(labels, ordered, strict=True)]


def _fields_of(run: RunRecord) -> Fields:
    return frozenset((name, repr(value)) for name, value in series_fields(run).items())


def _recorded_name(runs: Sequence[RunRecord], recorded: Mapping[Path, RecordedVariant]) -> RecordedVariant | None:
    """Return the variant to which runs with the same fields belong; the plain recipe comes first."""
    known = [recorded[run.path] for run in runs if run.path in recorded]
    return min(known, key=lambda variant: (variant.name != PLAIN, variant)) if known else None


def _fuller_fields(by_fields: Mapping[Fields, Sequence[RunRecord]]) -> dict[Fields, Fields]:
    """Return for each recipe the plainest one that has all its fields and more; itself if there is none.

    At the reference size many fields do nothing. So a run there belongs to the series of a recipe that has more fields:
    to its own recipe's at another size, if that is here.
    """
    by_names: dict[frozenset[str], list[Fields]] = {}
    for fields in by_fields:
        by_names.setdefault(frozenset(name for name, _ in fields), []).append(fields)
    fuller = {}
    for names, same_names in by_names.items():
        longer = [fields for others, some in by_names.items() if others > names for fields in some]
        for fields in same_names:
            size = size_of(by_fields[fields][0]) or 1
            fitting = [other for other in longer if fields < other and _fits_worker(fields, other, size)]
            same = [other for other in fitting if _given(by_fields[fields]) & _given(by_fields[other])]
            fuller[fields] = min(same or [*fitting, fields], key=lambda one: _fullness(by_fields[one][0]))
    return fuller


def _given(runs: Sequence[RunRecord]) -> set[Fields]:
    """Return what the recipes of runs say, whether it does something at their size or not."""
    return {frozenset((name, repr(value)) for name, value in given_fields(run).items()) for run in runs}


def _fullness(run: RunRecord) -> tuple[bool, int, int, int]:
    """Return a sort key; the size of workers decides last, because the reference may not tell it."""
    is_odd, distance = plainness(run)
    is_other = WORKER_SIZE in unusual(run)
    return is_odd, distance - is_other, -len(series_fields(run)), is_other


def _fits_worker(fields: Fields, other: Fields, size: int) -> bool:
    """Tell whether a run at this size can belong to a recipe with workers of the other's size.

    A run whose fields do not tell the size of its workers has one worker. The other recipe has one worker at this size
    if its workers are as large as the minibatch, or do not divide it.
    """
    worker = dict(other).get(WORKER_SIZE, "")
    return WORKER_SIZE in dict(fields) or not worker.isdecimal() or size % int(worker) != 0 or size == int(worker)


def _plainest_first(runs: Sequence[RunRecord]) -> tuple[bool, bool, int, int, int, str]:
    """Return a sort key of series: first those with the reference, then the plainest, then those with most sizes."""
    typical = _typical(runs)
    fields, sizes = typical.recipe_fields, {size_of(run) for run in runs}
    return (
        fields.get(REFERENCE_SIZE) not in sizes,
        *plainness(typical),
        -len(sizes),
        -len(runs),
        repr(sorted(fields.items(), key=lambda field: field[0])),
    )


def _typical(runs: Sequence[RunRecord]) -> RunRecord:
    """Return the run whose recipe has the most fields that do something."""
    return max(sorted(runs, key=_order), key=lambda run: len(series_fields(run)))


def _is_plain(key: SeriesKey) -> bool:
    return isinstance(key, RecordedVariant) and key.name == PLAIN


def _labels(ordered: Sequence[tuple[SeriesKey, Sequence[RunRecord]]]) -> list[str]:
    """Return a unique label for each series: the variant's name, or what differs from the plain recipe."""
    plain = _typical(ordered[0][1])
    firsts = {key.name: _typical(runs) for key, runs in ordered if isinstance(key, RecordedVariant) and not key.number}
    labels: list[str] = []
    for key, runs in ordered:
        if not isinstance(key, RecordedVariant) or key.name == PLAIN:
            label = _label(_typical(runs), plain)
        elif key.number == 0:
            label = printable(key.name)
        else:
            label = f"{printable(key.name)}, {_label(_typical(runs), firsts[key.name])}"
        labels.append(f"{label} ({len(labels) + 1})" if label in labels else label)
    return labels


def _label(run: RunRecord, plain: RunRecord) -> str:
    usual = {**plain.recipe_fields, REDUCTION: series_fields(plain)[REDUCTION]}
    changed = {n: value for n, value in series_fields(run).items() if repr(value) != repr(usual.get(n))}
    return variant_label(changed or {SCALING: run.recipe_fields.get(SCALING)})


def _one_series(label: str, runs: Sequence[RunRecord]) -> Series:
    by_size: dict[int, list[RunRecord]] = {}
    for run in runs:
        by_size.setdefault(size_of(run) or 0, []).append(run)
    return Series(label, [Point(label, size, sorted(by_size[size], key=_order)) for size in sorted(by_size)])


def _order(run: RunRecord) -> tuple[int, str, str]:
    seed = run.recipe_fields.get("seed")
    return (seed if isinstance(seed, int) else -1, run.started or "", str(run.path))


def reference_size_of(series: Series) -> int | None:
    """Return the reference's minibatch size in the recipe of a series."""
    return whole_number(series.points[0].runs[0].recipe_fields.get(REFERENCE_SIZE))
