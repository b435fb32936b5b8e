"""Series: a recipe, or a variant of a sweep, at all its minibatch sizes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bigbatch.contract import FOR_PEOPLE
from bigbatch.presets import PRESETS
from bigbatch.printable import printable
from bigbatch.recipe import NOT_OF_THE_RESULT, effective_fields, flatten
from bigbatch.reduction.options import NATIVE
from bigbatch.report.families import OF_THE_GROUP
from bigbatch.report.labels import variant_label
from bigbatch.report.points import OF_THE_SEED, SIZE, Point, size_of, whole_number
from bigbatch.run_record import RunRecord
from bigbatch.variants import PLAIN

REFERENCE_SIZE: Final = "reference.minibatch_size"
WORKER_SIZE: Final = "worker_minibatch_size"
SCALING: Final = "scaling.rule"
LINEAR: Final = "linear"
REDUCTION: Final = "reduction"
NOT_OF_A_SERIES: Final = (*NOT_OF_THE_RESULT, *OF_THE_SEED, *OF_THE_GROUP)

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
        variants: what sweeps recorded of theirs: each is one series, whatever its recipe says at which size.
    """
    by_recipe: dict[Recipe, list[RunRecord]] = {}
    for run in runs:
        by_recipe.setdefault(_recipe_of(run), []).append(run)
    homes = _homes(by_recipe)
    of_variants: dict[Recipe, str] = {}
    for recipe, some in by_recipe.items():
        names = [name for run in some if (name := variants.get(run.path))]
        of_variants |= {recipe: min(names, key=lambda name: (name != PLAIN, name))} if names else {}
    members: dict[str | Recipe, list[RunRecord]] = {}
    for recipe, some in by_recipe.items():
        otherwise = of_variants.get(homes[recipe], homes[recipe])
        for run in some:
            members.setdefault(variants.get(run.path, otherwise), []).append(run)
    ordered = sorted(members.items(), key=lambda item: (item[0] != PLAIN, *_plainest_first(item[1])))
    labels = _labels(ordered)
    return [_one_series(label, some) for label, (_, some) in zip(labels, ordered, strict=True)]


def series_fields(run: RunRecord) -> dict[str, object]:
    """Return what of a run does something and tells series apart; a sum that is not exact does."""
    fields = effective_fields(run.recipe_fields)
    own = {n: v for n, v in fields.items() if n not in {SIZE, *FOR_PEOPLE} and not n.startswith(NOT_OF_A_SERIES)}
    return {**own, REDUCTION: NATIVE if run.summary.get("reduction") == NATIVE else "exact"}


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
    is_odd, distance = _plainness(run)
    is_other = WORKER_SIZE in _unusual(run)
    return is_odd, distance - is_other, -len(series_fields(run)), is_other


def _fits_worker(recipe: Recipe, other: Recipe, size: int) -> bool:
    """Tell whether a minibatch of one worker, whose size its recipe does not say, is what the other has at this size.

    The reference of a recipe is cut into its workers; into a smaller one only where these do not divide it.
    """
    worker = dict(other).get(WORKER_SIZE, "")
    return WORKER_SIZE in dict(recipe) or not worker.isdecimal() or size % int(worker) != 0 or size == int(worker)


def _plainness(run: RunRecord) -> tuple[bool, int]:
    """Return what to sort recipes by: linear scaling first, then those nearest to the preset whose name they have."""
    fields = series_fields(run)
    return fields.get(SCALING, LINEAR) != LINEAR or fields[REDUCTION] == NATIVE, len(_unusual(run))


def _unusual(run: RunRecord) -> set[str]:
    """Return the fields that are not as in the preset whose name the recipe has."""
    preset = PRESETS.get(str(run.recipe_fields.get("name")))
    usual = flatten(preset().to_dict()) if preset else run.recipe_fields
    fields = series_fields(run).items()
    return {name for name, value in fields if name != REDUCTION and repr(value) != repr(usual.get(name))}


def _plainest_first(runs: Sequence[RunRecord]) -> tuple[bool, bool, int, int, int, str]:
    """Return what to sort series by: the plain recipe has the reference, and is the plainest; then the most sizes."""
    typical = _typical(runs)
    fields, sizes = typical.recipe_fields, {size_of(run) for run in runs}
    return (
        fields.get(REFERENCE_SIZE) not in sizes,
        *_plainness(typical),
        -len(sizes),
        -len(runs),
        repr(sorted(fields.items(), key=lambda field: field[0])),
    )


def _typical(runs: Sequence[RunRecord]) -> RunRecord:
    """Return the run whose recipe says the most that does something."""
    return max(sorted(runs, key=_order), key=lambda run: len(series_fields(run)))


def _labels(ordered: Sequence[tuple[str | Recipe, Sequence[RunRecord]]]) -> list[str]:
    """Return what each series is called: the variant's name, or what differs from the plain recipe; each once."""
    plain = _typical(ordered[0][1])
    labels: list[str] = []
    for name, runs in ordered:
        label = printable(name) if isinstance(name, str) and name != PLAIN else _label(_typical(runs), plain)
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
