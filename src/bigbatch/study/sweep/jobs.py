"""What a sweep is to run: a job for each variant, minibatch size and seed; all are checked before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bigbatch.data.load import count_train_samples, known_train_samples
from bigbatch.errors import InputError
from bigbatch.planning.plan import at_reference
from bigbatch.recipe import Data, Recipe, effective_fields, flat_fields
from bigbatch.recipe.course import course_of, largest_size
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.metrics import UNKNOWN, Measure, find_measure
from bigbatch.runs.folder import RUNS_FOLDER, RunFolder
from bigbatch.study.comparable import measured_by
from bigbatch.study.configuration import Configuration
from bigbatch.study.naming import noun_of
from bigbatch.study.variants import PLAIN, VARIANTS, Variant
from bigbatch.user_code import is_user_code

STREAMS: Final = ("initialisation", "order", "augmentation")
MAX_RUNS: Final = 10_000


@dataclass(frozen=True)
class Job:
    """A run that a sweep plans.

    Attributes:
        variant: its name.
        recipe: what to train, with its seed.
        folder: the run's folder.
        iterations: planned updates; an upper bound if the gradients decide; None if the data would have to be loaded
            to know.
    """

    variant: str
    recipe: Recipe
    folder: RunFolder
    iterations: int | None

    @property
    def name(self) -> str:
        """VARIANT-MINIBATCH-seedSEED."""
        return self.folder.path.name

    @property
    def configuration(self) -> Configuration:
        """The variant and the minibatch size."""
        return Configuration(self.variant, self.recipe.minibatch_size)


@dataclass(frozen=True)
class Sweep:
    """All runs of a sweep, in the order in which they start: seed by seed, the reference first.

    Attributes:
        recipe: the plain recipe.
        output: the folder of all runs.
        jobs: the runs.
        notes: what was added and left out, a line each.
        settings: the settings of the user's own variants.
        measure: what the runs are judged by.
    """

    recipe: Recipe
    output: Path
    jobs: tuple[Job, ...]
    notes: tuple[str, ...]
    settings: Mapping[str, Sequence[str]]
    measure: Measure

    @property
    def reference(self) -> Configuration:
        """The configuration with which all others are compared: the plain recipe at the reference size."""
        return Configuration(PLAIN, self.recipe.reference.minibatch_size)

    @property
    def configurations(self) -> list[Configuration]:
        """The configurations in the order of a table: variant by variant, the sizes rising."""
        variants = list(dict.fromkeys(job.variant for job in self.jobs))
        found = {job.configuration for job in self.jobs}
        return sorted(found, key=lambda one: (variants.index(one.variant), one.minibatch_size))


def plan_sweep(
    recipe: Recipe,
    minibatch_sizes: Sequence[int],
    *,
    num_seeds: int,
    variants: Sequence[Variant] = (VARIANTS[PLAIN],),
    varied: Sequence[str] | None = None,
    output: Path | None = None,
    reads_data: bool = True,
    measure: Measure | None = None,
) -> Sweep:
    """Plan all runs, and check that each of them is possible.

    Args:
        recipe: what is trained; its seed is the first one, its minibatch size does not matter.
        minibatch_sizes: of every variant; the reference size is added for the plain recipe.
        num_seeds: runs of each variant and size, with the seeds recipe.seed, +1, +2, ...
        variants: of the recipe.
        varied: the streams of randomness that follow the seed; the others stay at the recipe's. None: as in the recipe.
        output: the folder of all runs; by default runs/sweep-NAME.
        reads_data: whether data may be read to count samples; otherwise a run's length may be unknown.
        measure: of the recipe's first metric, if that is the user's own.

    Raises:
        InputError: a size is there twice, one of the recipes is impossible, or its result could not be compared.
    """
    output = output or RUNS_FOLDER / f"sweep-{recipe.name}"
    measure = find_measure(recipe.metrics[0]) or measure or UNKNOWN
    _check_counts(minibatch_sizes, num_seeds, len(variants))
    recipes, notes = plan_configurations(recipe, sorted(minibatch_sizes), variants)
    _check_comparable(recipes, measure)
    counts = _SampleCounts(reads_data=reads_data)
    iterations = {one: _check(one, planned, counts) for one, planned in recipes.items()}
    jobs = [
        Job(
            configuration.variant,
            with_seed(planned, recipe.seed + number, varied),
            RunFolder(output / f"{configuration.variant}-{configuration.minibatch_size}-seed{recipe.seed + number}"),
            iterations[configuration],
        )
        for number in range(num_seeds)
        for configuration, planned in recipes.items()
    ]
    own = {v.name: tuple(v.settings(recipe, recipe.minibatch_size)) for v in variants if v.name not in VARIANTS}
    return Sweep(recipe, output, tuple(jobs), tuple(notes), own, measure)


def plan_configurations(
    recipe: Recipe, minibatch_sizes: Sequence[int], variants: Sequence[Variant]
) -> tuple[dict[Configuration, Recipe], list[str]]:
    """Return the recipe of each configuration, the reference first, and notes on what was added and left out."""
    reference = recipe.reference.minibatch_size
    recipes: dict[Configuration, Recipe] = {
        Configuration(PLAIN, reference): recipe_of(recipe, VARIANTS[PLAIN], reference)
    }
    notes = []
    if not (reference in minibatch_sizes and VARIANTS[PLAIN] in variants):
        notes.append(f"added: the recipe at its reference size, {reference}, with which all others are compared")
    # The plain recipe comes first, so that it stays if a variant is the same training.
    for variant in sorted(variants, key=lambda variant: variant.name != PLAIN):
        for size in minibatch_sizes:
            configuration = Configuration(variant.name, size)
            if reason := _why_left_out(recipe, variant, size):
                notes.append(f"left out: {configuration}, because {reason}")
                continue
            planned = recipe_of(recipe, variant, size)
            twin = next((one for one, other in recipes.items() if is_same_training(planned, other)), None)
            if twin is None:
                recipes[configuration] = planned
            elif twin != configuration:
                notes.append(f"left out: {configuration} is the same training as {twin}")
    return recipes, notes


def _why_left_out(recipe: Recipe, variant: Variant, size: int) -> str:
    """Return why there is no such variant at a minibatch size; empty if there is one."""
    if size <= (start := variant.starts_above(recipe)):
        return f"it differs from the recipe only above {start}"
    if size < variant.fewest_samples:
        return "that is less than one worker"
    if (reached := largest_size(recipe_of(recipe, variant, size))) not in {None, size}:
        return f"its schedule lets it grow to {reached} at most"
    return ""


def recipe_of(recipe: Recipe, variant: Variant, minibatch_size: int) -> Recipe:
    """Return a variant of the recipe at a minibatch size.

    Raises:
        InputError: there is no such recipe; the message names the variant.
    """
    at_size = at_reference(recipe) if minibatch_size == recipe.reference.minibatch_size else recipe
    sizes = (f"minibatch_size={minibatch_size}", f"worker_minibatch_size={at_size.worker_minibatch_size}")
    try:
        settings = [*sizes, *variant.settings(recipe, minibatch_size)]
        return with_settings(recipe if _may_be(recipe, sizes) else at_size, settings)
    except InputError as error:
        msg = str(error) if variant.name == PLAIN else f"variant '{variant.name}' at {minibatch_size}: {error}"
        raise InputError(msg) from error


def _may_be(recipe: Recipe, sizes: Sequence[str]) -> bool:
    """Tell whether the recipe is allowed at these sizes; at some references AdaScale and growth are not."""
    try:
        with_settings(recipe, sizes)
    except InputError:
        return False
    return True


def is_same_training(one: Recipe, other: Recipe) -> bool:
    """Tell whether two recipes differ at most in fields that do nothing, as the length of a warmup that neither has.

    >>> from bigbatch.recipe.presets import digits
    >>> unscaled = with_settings(digits(), ["scaling.rule=none", "warmup.kind=none"])
    >>> is_same_training(digits(), unscaled)
    True
    >>> larger = ["minibatch_size=32"]
    >>> is_same_training(with_settings(digits(), larger), with_settings(unscaled, larger))
    False
    """
    first, second = (effective_fields(flat_fields(recipe.to_dict())) for recipe in (one, other))
    return first == second


def with_seed(recipe: Recipe, seed: int, varied: Sequence[str] | None) -> Recipe:
    """Return the recipe with another seed, which the varied streams of randomness follow.

    Args:
        recipe: its seed stays the seed of the other streams.
        seed: the new one.
        varied: of initialisation, order, augmentation; None to leave it to the recipe's `seeds`.
    """
    streams = {} if varied is None else {s: -1 if s in varied else recipe.seed_of(s) for s in STREAMS}
    return replace(recipe, seed=seed, seeds=replace(recipe.seeds, **streams))


class _SampleCounts:
    """The numbers of training samples of the variants' data sets; each is counted once."""

    def __init__(self, *, reads_data: bool) -> None:
        self.reads_data = reads_data
        self.known: dict[str, int | None] = {}

    def of(self, data: Data) -> int | None:
        """Return the number; None if only reading the data would tell, and that is not allowed or runs user code."""
        if repr(data) not in self.known:
            may_read = self.reads_data and not (is_user_code(data.name) or data.order)
            self.known[repr(data)] = count_train_samples(data) if may_read else known_train_samples(data)
        return self.known[repr(data)]


def _check(configuration: Configuration, recipe: Recipe, counts: _SampleCounts) -> int | None:
    """Refuse an impossible recipe; return its number of iterations, or None if that is unknown."""
    try:
        num_samples = counts.of(recipe.data)
        return course_of(recipe, num_samples).total_iterations if num_samples else None
    except InputError as error:
        msg = f"{configuration}: {error}"
        raise InputError(msg) from error


def _check_comparable(recipes: Mapping[Configuration, Recipe], measure: Measure) -> None:
    """Refuse a variant whose metric measures something else than the reference's: another loss, for example."""
    measured = {one: measured_by(measure, flat_fields(recipe.to_dict())) for one, recipe in recipes.items()}
    reference = next(iter(measured.values()))
    for configuration, other in measured.items():
        if other != reference:
            msg = (
                f"the {noun_of(measure)} of variant '{configuration.variant}' is that of {other or 'the outputs'}, "
                f"and the reference's is that of {reference or 'the outputs'}; judge by a metric that both have"
            )
            raise InputError(msg)


def _check_counts(minibatch_sizes: Sequence[int], num_seeds: int, num_variants: int) -> None:
    for size in minibatch_sizes:
        if minibatch_sizes.count(size) > 1:
            msg = f"the minibatch size {size} is there twice; name each once"
            raise InputError(msg)
    num_runs = num_variants * len(minibatch_sizes) * num_seeds
    if num_runs > MAX_RUNS:
        msg = f"that would be {num_runs} runs; a sweep has at most {MAX_RUNS}"
        raise InputError(msg)
