"""Series: a recipe, or a variant of a sweep, at all its minibatch sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.printable import printable
from bigbatch.runs.record import RunRecord
from bigbatch.study.report.grouping.labels import variant_label
from bigbatch.study.report.grouping.plainness import REDUCTION, SCALING, plainness, series_fields, unusual
from bigbatch.study.report.grouping.points import Point, size_of, whole_number
from bigbatch.study.report.grouping.trainings import REFERENCE_SIZE, Training, trainings_of
from bigbatch.study.variants import PLAIN

WORKER_SIZE: Final = "worker_minibatch_size"

Recipe = frozenset[tuple[str, str]]  # what a recipe says that does something, and tells series apart


@dataclass(frozen=True)
class Series:
    """A recipe at all its minibatch sizes, which rise."""

    label: str
    points: Sequence[Point]


def split_into_series(runs: Sequence[RunRecord], variants: Mapping[Path, str]) -> list[Series]:
    """Return the series of runs that can be compared, the plain recipe first.

    Args:
        runs: at least one.
        variants: what sweeps recorded of theirs: each is one series, whatever follows the size in its recipe.
    """
    by_recipe: dict[Recipe, list[RunRecord]] = {}
    for run in runs:
        by_recipe.setdefault(_recipe_of(run), []).append(run)
    homes, trainings = _homes(by_recipe), trainings_of(runs, variants)
    of_variants: dict[Recipe, Training] = {}
    for recipe, some in by_recipe.items():
        known = [training for run in some if (training := trainings.get(run.path))]
        of_variants |= {recipe: min(known, key=lambda training: (training.variant != PLAIN, training))} if known else {}
    members: dict[Training | Recipe, list[RunRecord]] = {}
    for recipe, some in by_recipe.items():
        home = recipe if recipe in of_variants else homes[recipe]
        otherwise = of_variants.get(home, home)
        for run in some:
            members.setdefault(trainings.get(run.path, otherwise), []).append(run)
    ordered = sorted(members.items(), key=lambda item: (not _is_plain(item[0]), *_plainest_first(item[1])))
    labels = _labels(ordered)
    return [_one_series(label, some) for label, (_, some) in zip(labels, ordered, strict=True)]


def _recipe_of(run: RunRecord) -> Recipe:
    return frozenset((name, repr(value)) for name, value in series_fields(run).items())


def _homes(by_recipe: Mapping[Recipe, Sequence[RunRecord]]) -> dict[Recipe, Recipe]:
    """Return for each recipe the plainest that says all that it says, and more: at the reference size much is idle."""
    by_names: dict[frozenset[str], list[Recipe]] = {}
    for recipe in by_recipe:
        by_names.setdefault(frozenset(name for name, _ in recipe), []).append(recipe)
    homes = {}
    for names, recipes in by_names.items():
        longer = [recipe for others, some in by_names.items() if others > names for recipe in some]
        for recipe in recipes:
            size = size_of(by_recipe[recipe][0]) or 1
            fitting = [other for other in longer if recipe < other and _fits_worker(recipe, other, size)]
            homes[recipe] = min([*fitting, recipe], key=lambda one: _as_a_home(by_recipe[one][0]))
    return homes


def _as_a_home(run: RunRecord) -> tuple[bool, int, int, int]:
    """Return what to sort by: the size of workers, which the reference may not tell, decides last."""
    is_odd, distance = plainness(run)
    is_other = WORKER_SIZE in unusual(run)
    return is_odd, distance - is_other, -len(series_fields(run)), is_other


def _fits_worker(recipe: Recipe, other: Recipe, size: int) -> bool:
    """Tell whether a minibatch of one worker, whose size its recipe does not say, is what the other has at this size.

    The reference of a recipe is cut into its workers; into a smaller one only where these do not divide it.
    """
    worker = dict(other).get(WORKER_SIZE, "")
    return WORKER_SIZE in dict(recipe) or not worker.isdecimal() or size % int(worker) != 0 or size == int(worker)


def _plainest_first(runs: Sequence[RunRecord]) -> tuple[bool, bool, int, int, int, str]:
    """Return what to sort series by: the plain recipe has the reference, and is the plainest; then the most sizes."""
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
    """Return the run whose recipe says the most that does something."""
    return max(sorted(runs, key=_order), key=lambda run: len(series_fields(run)))


def _is_plain(name: Training | Recipe) -> bool:
    return isinstance(name, Training) and name.variant == PLAIN


def _labels(ordered: Sequence[tuple[Training | Recipe, Sequence[RunRecord]]]) -> list[str]:
    """Return what each series is called: the variant's name, or what differs from the plain recipe; each once."""
    plain = _typical(ordered[0][1])
    firsts = {name.variant: _typical(runs) for name, runs in ordered if isinstance(name, Training) and not name.number}
    labels: list[str] = []
    for name, runs in ordered:
        if not isinstance(name, Training) or name.variant == PLAIN:
            label = _label(_typical(runs), plain)
        elif name.number == 0:
            label = printable(name.variant)
        else:
            label = f"{printable(name.variant)}, {_label(_typical(runs), firsts[name.variant])}"
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
    """Return the minibatch size of the reference that a series' recipe says."""
    return whole_number(series.points[0].runs[0].recipe_fields.get(REFERENCE_SIZE))
