"""What a recipe may say."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from bigbatch.errors import InputError, nearest
from bigbatch.models.losses import check_loss_name
from bigbatch.models.names import check_model_name
from bigbatch.recipe.optimizer import ADAM_LIKE, BY_SQUARE_ROOT, LAYERWISE, check_optimizer_name
from bigbatch.recipe.scaling import KEEP, SQUARE_ROOT, WEIGHT_DECAY_RULES
from bigbatch.rules.growth import GROWTHS
from bigbatch.rules.learning_rate import SCALING_RULES, SCHEDULES, WARMUPS
from bigbatch.rules.sampling import check_minibatch_size
from bigbatch.user_code import is_user_code

if TYPE_CHECKING:
    from bigbatch.recipe.recipe import Recipe

AUGMENTATIONS: Final = ("flip", "crop", "random-resized-crop")
PRECISIONS: Final = ("float32", "bfloat16")
MAX_SEED: Final = 2**63 - 1
MAX_EPOCHS: Final = 10**9  # far beyond any training, and far below what numbers of iterations overflow at
MAX_SAMPLES: Final = 2**53
MAX_PIXELS: Final = 8_192
MAX_WIDTH: Final = 65_536
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_recipe(recipe: "Recipe") -> None:
    """Refuse what cannot be trained, or would overflow or take all memory only later.

    Raises:
        InputError: a field is out of its range; the message says what is possible.
    """
    _check_ranges(recipe)
    _check_choices(recipe)
    _check_sizes(recipe)
    _check_adascale(recipe)
    _check_growth(recipe)
    _check_scaled(recipe)


def _check_ranges(recipe: "Recipe") -> None:
    positive = {
        "reference.minibatch_size": recipe.reference.minibatch_size,
        "reference.learning_rate": recipe.reference.learning_rate,
        "epochs": recipe.epochs,
        "data.image_size": recipe.data.image_size,
        "schedule.factor": recipe.schedule.factor,
        "growth.noise_fraction": recipe.growth.noise_fraction,
    }
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            msg = f"{name} must be a number above 0, not {value}"
            raise InputError(msg)
    not_negative = {
        "reference.largest_matching": recipe.reference.largest_matching,
        "growth.start": recipe.growth.start,
        "warmup.epochs": recipe.warmup.epochs,
        "optimizer.momentum": recipe.optimizer.momentum,
        "optimizer.weight_decay": recipe.optimizer.weight_decay,
        "model.width": recipe.model.width,
        "model.dropout": recipe.model.dropout,
        "data.num_train_samples": recipe.data.num_train_samples,
        **{f"schedule.milestones[{i}]": epoch for i, epoch in enumerate(recipe.schedule.milestones)},
    }
    for name, value in not_negative.items():
        if not (math.isfinite(value) and value >= 0):
            msg = f"{name} must be a number of at least 0, not {value}"
            raise InputError(msg)
    for name, value in {"optimizer.momentum": recipe.optimizer.momentum, "model.dropout": recipe.model.dropout}.items():
        if value >= 1:
            msg = f"{name} must be below 1, not {value}"
            raise InputError(msg)
    if not 0 <= recipe.seed <= MAX_SEED:
        msg = f"seed must be between 0 and {MAX_SEED}, not {recipe.seed}"
        raise InputError(msg)
    for name, seed in asdict(recipe.seeds).items():
        if not -1 <= seed <= MAX_SEED:
            msg = f"seeds.{name} must be between 0 and {MAX_SEED}, or -1 for the recipe's seed, not {seed}"
            raise InputError(msg)


def _check_sizes(recipe: "Recipe") -> None:
    """Refuse what would overflow, or take all memory, only later."""
    largest = {
        "minibatch_size": (recipe.minibatch_size, MAX_SAMPLES),
        "reference.minibatch_size": (recipe.reference.minibatch_size, MAX_SAMPLES),
        "data.num_train_samples": (recipe.data.num_train_samples, MAX_SAMPLES),
        "data.image_size": (recipe.data.image_size, MAX_PIXELS),
        "model.width": (recipe.model.width, MAX_WIDTH),
        "epochs": (recipe.epochs, MAX_EPOCHS),
        "warmup.epochs": (recipe.warmup.epochs, MAX_EPOCHS),
        **{f"schedule.milestones[{i}]": (epoch, MAX_EPOCHS) for i, epoch in enumerate(recipe.schedule.milestones)},
    }
    for name, (value, most) in largest.items():
        if value > most:
            msg = f"{name} must be at most {most}, not {value}"
            raise InputError(msg)
    try:
        last = recipe.base_learning_rate * recipe.schedule.factor ** len(recipe.schedule.milestones)
    except OverflowError:
        last = math.inf
    if not (math.isfinite(recipe.base_learning_rate) and math.isfinite(last)):
        msg = f"the learning rate becomes infinite: {recipe.base_learning_rate:g} after scaling, {last:g} at the end"
        raise InputError(msg)


def _check_choices(recipe: "Recipe") -> None:
    choices: list[tuple[str, str, tuple[str, ...]]] = [
        ("scaling.rule", recipe.scaling.rule, tuple(SCALING_RULES)),
        ("scaling.weight_decay", recipe.scaling.weight_decay, WEIGHT_DECAY_RULES),
        ("warmup.kind", recipe.warmup.kind, WARMUPS),
        ("growth.kind", recipe.growth.kind, GROWTHS),
        ("schedule.kind", recipe.schedule.kind, SCHEDULES),
        ("precision", recipe.precision, PRECISIONS),
        *(("data.augmentation", augmentation, AUGMENTATIONS) for augmentation in recipe.data.augmentation),
    ]
    for name, value, known in choices:
        if value not in known:
            msg = f"{name} '{value}' is unknown; {nearest(value, list(known))}"
            raise InputError(msg)
    check_model_name(recipe.model.name)
    check_loss_name(recipe.loss)
    check_optimizer_name(recipe.optimizer.name)
    for section, part in (("model", recipe.model), ("data", recipe.data), ("optimizer", recipe.optimizer)):
        if part.arguments and not is_user_code(part.name):
            msg = f"{section}.arguments is for package.module:callable; '{part.name}' takes none"
            raise InputError(msg)
        if not _is_plain(part.arguments):
            msg = f"{section}.arguments must be plain values: numbers, strings, true or false, lists and tables of them"
            raise InputError(msg)
    if not NAME.fullmatch(recipe.name):
        msg = f"name '{recipe.name}' must be letters, digits, dots and dashes: it names the run's folder"
        raise InputError(msg)
    if list(recipe.schedule.milestones) != sorted(set(recipe.schedule.milestones)):
        msg = f"schedule.milestones must rise, not {list(recipe.schedule.milestones)}"
        raise InputError(msg)
    if recipe.optimizer.nesterov and recipe.optimizer.momentum == 0:
        msg = "optimizer.nesterov needs a momentum above 0; set optimizer.nesterov = false for plain SGD"
        raise InputError(msg)


def _check_adascale(recipe: "Recipe") -> None:
    if not recipe.is_adascale:
        return
    if recipe.minibatch_size < recipe.reference.minibatch_size:
        msg = (
            "scaling.rule 'adascale' is for minibatches of at least the reference's "
            f"{recipe.reference.minibatch_size}, not {recipe.minibatch_size}; below, use linear"
        )
        raise InputError(msg)
    _check_measurable(recipe, "scaling.rule 'adascale'", recipe.minibatch_size)
    if recipe.is_growing:
        msg = "scaling.rule 'adascale' and growth exclude each other; set growth.kind=none"
        raise InputError(msg)
    if recipe.optimizer.name in {*ADAM_LIKE, *LAYERWISE} or recipe.scaling.weight_decay != KEEP:
        msg = "scaling.rule 'adascale' is a rule for SGD: use optimizer.name=sgd and scaling.weight_decay=keep"
        raise InputError(msg)


def _check_growth(recipe: "Recipe") -> None:
    start = recipe.initial_minibatch_size
    if not recipe.is_growing:
        return
    check_minibatch_size(start, recipe.worker_minibatch_size)
    if start > recipe.minibatch_size:
        msg = f"growth.start {start} is larger than minibatch_size {recipe.minibatch_size}, to which it should grow"
        raise InputError(msg)
    is_scaled = recipe.optimizer.name in BY_SQUARE_ROOT and recipe.scaling.rule == SQUARE_ROOT
    if is_scaled or recipe.scaling.weight_decay != KEEP:
        msg = "a growing minibatch changes the rate alone, not betas or weight decay; use sgd, or growth.kind=none"
        raise InputError(msg)
    if recipe.growth.kind == "noise-scale":
        _check_measurable(recipe, "growth.kind 'noise-scale'", start)


def _check_measurable(recipe: "Recipe", what: str, minibatch_size: int) -> None:
    """Refuse to measure noise where there is nothing to compare."""
    least = 2 * recipe.worker_minibatch_size
    if minibatch_size < least:
        msg = f"{what} compares the gradients of workers: it needs at least 2 of them, {least} samples"
        raise InputError(msg)


def _check_scaled(recipe: "Recipe") -> None:
    """Refuse what the rules cannot scale to this minibatch size."""
    decay = recipe.scaled_optimizer.weight_decay
    if not math.isfinite(decay):
        msg = f"the weight decay becomes infinite: {decay:g} after scaling; set scaling.weight_decay = keep"
        raise InputError(msg)


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str)
