"""What the user should know of a recipe before it is trained."""

from collections.abc import Iterator
from typing import Final

from bigbatch.recipe.course import largest_size
from bigbatch.recipe.numerics import PORTABLE
from bigbatch.recipe.recipe import Recipe
from bigbatch.recipe.sections.duration import Duration
from bigbatch.recipe.sections.optimizer import BY_SQUARE_ROOT
from bigbatch.rules.duration import EPOCHS, ITERATIONS
from bigbatch.user_code import is_user_code

PAPER: Final = "arXiv 1706.02677"
MANY_IMAGES: Final = 100  # of their own sizes, with what is found in them
MALLADI: Final = "Malladi 2022, arXiv 2205.10287"


def warnings_of(recipe: Recipe) -> list[str]:
    """Return a line for each setting that probably does not do what was meant.

    >>> from bigbatch.recipe.file import with_settings
    >>> from bigbatch.recipe.presets import digits
    >>> warnings_of(digits()), warnings_of(with_settings(digits(), ["epochs=20"]))
    ([], ['milestones [25.0] are never reached in 20 epochs'])
    """
    return [
        *_size_warnings(recipe),
        *_length_warnings(recipe),
        *_growth_warnings(recipe),
        *_optimizer_warnings(recipe),
        *_model_warnings(recipe),
        *_evaluation_warnings(recipe),
        *_numerics_warnings(recipe),
    ]


def _numerics_warnings(recipe: Recipe) -> Iterator[str]:
    if recipe.numerics == PORTABLE and recipe.precision == "bfloat16":
        yield "bfloat16 is slower than float32 with portable numerics: AVX2 has no kernels for it (docs/portable.md)"


def _size_warnings(recipe: Recipe) -> Iterator[str]:
    limit = recipe.reference.largest_matching
    if limit and recipe.minibatch_size > limit:
        yield (
            f"minibatch size {recipe.minibatch_size} is past {limit}, the largest known to keep the accuracy of "
            f"'{recipe.name}': expect a higher error ({PAPER}, figure 1)"
        )


def _length_warnings(recipe: Recipe) -> Iterator[str]:
    length, warmups = recipe.length, [recipe.reference.warmup]
    if recipe.is_warming_up:
        warmups.append(recipe.warmup.duration)
    for warmup in warmups:
        if _is_over_before(length, warmup, recipe.reference.minibatch_size):
            never = "the base learning rate is never reached"
            yield f"training ends after {length}, within the warmup of {warmup}: {never}"
    late = [place for place in recipe.schedule.milestones if place >= length.amount]
    if recipe.schedule.kind == "step" and late:
        yield f"milestones {late} are never reached in {length}"


def _is_over_before(length: Duration, other: Duration, reference: int) -> bool:
    """Tell whether a training is over before something is; False if the units do not tell."""
    if EPOCHS in {length.unit, other.unit}:
        return length.unit == other.unit and length.amount <= other.amount
    samples = [amount * (reference if unit == ITERATIONS else 1) for amount, unit in (length, other)]
    return samples[0] <= samples[1]


def _growth_warnings(recipe: Recipe) -> Iterator[str]:
    if (size := largest_size(recipe)) not in {None, recipe.minibatch_size}:
        yield (
            f"the minibatch grows to {size} at most, for the schedule lowers the rate no further: "
            f"{recipe.minibatch_size} is never reached"
        )


def _optimizer_warnings(recipe: Recipe) -> Iterator[str]:
    name, is_scaled = recipe.optimizer.name, recipe.minibatch_size != recipe.reference.minibatch_size
    if name in BY_SQUARE_ROOT and recipe.scaling.rule == "linear" and is_scaled:
        yield (
            f"the rate of {name} is scaled linearly, where the square root is known to keep what Adam does; "
            f"set scaling.rule=square-root ({MALLADI})"
        )
    if name == "adam" and recipe.optimizer.decay:
        yield (
            "adam divides its weight decay by the gradient's size, so that decay depends on the loss's scale; "
            "use adamw, or optimizer.weight_decay=0 (arXiv 1711.05101)"
        )


def _model_warnings(recipe: Recipe) -> Iterator[str]:
    model = recipe.model
    if model.frozen_norms and not model.weights and not is_user_code(model.name):
        yield (
            "model.frozen_batch_norm without model.weights: the statistics that stay are those of no data (mean 0, "
            "variance 1); set model.weights to those of a trained backbone"
        )


def _evaluation_warnings(recipe: Recipe) -> Iterator[str]:
    size = recipe.evaluation.part_size
    if recipe.data.has_boxes and size > MANY_IMAGES:
        yield (
            f"evaluation.part_size {size}: so many images, and all that is found in them, are in memory at once; "
            "set it to 8 or so"
        )
