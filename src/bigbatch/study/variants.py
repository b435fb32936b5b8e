"""Variants of a recipe by name, most of them from the paper's tables: each is a few settings with their source."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.recipe import Recipe
from bigbatch.recipe.recipe import NAME

PAPER: Final = "arXiv 1706.02677"
PLAIN: Final = "recipe"
WORKERS: Final = re.compile(r"n=([1-9]\d{0,8})")
OUTSIDE_BRACKETS: Final = re.compile(r",(?![^\[]*\])")
NOT_A_VARIANTS: Final = {
    "minibatch_size": "--minibatch-sizes",
    "reference.minibatch_size": "--set",
    "seed": "--seed and --seeds",
    "seeds": "--vary",
}

NOT_COMPARABLE: Final = ("metrics", "evaluation", "evaluation.predict", "evaluation.part_size")

Settings = Callable[[Recipe, int], Sequence[str]]


@dataclass(frozen=True)
class Variant:
    """A change to a recipe.

    Attributes:
        name: a word for tables and folders.
        meaning: what changes and its source, in one line.
        settings: the change as `section.field=value`, a function of the recipe and of the minibatch size.
        starts_above: the size up to which it is the plain recipe or does not exist; a function of the recipe.
        follows_size: the fields that it sets to another value at each minibatch size.
        fewest_samples: the smallest minibatch for which it exists.
    """

    name: str
    meaning: str
    settings: Settings
    starts_above: Callable[[Recipe], int] = lambda _recipe: 0
    follows_size: tuple[str, ...] = ()
    fewest_samples: int = 1


def always(*settings: str) -> Settings:
    """Return the same settings for every recipe and minibatch size."""
    return lambda _recipe, _minibatch_size: settings


def reference_rate(factor: float) -> Settings:
    """Multiply the reference rate, and thereby every rate that is scaled from it."""
    return lambda recipe, _: (f"reference.learning_rate={recipe.reference.learning_rate * factor!r}",)


def loss_mean_per_worker(recipe: Recipe, minibatch_size: int) -> Sequence[str]:
    r"""Return the settings that equal a loss divided by n instead of kn, at the rate eta (section 3, remark 3).

    Let g be the gradient of the loss divided by kn, where n is the reference minibatch size and k = kn / n. Divided by
    n, the gradients add up to k*g. With torch's momentum (eq. 9) and the rate eta,

        u' = m*u + (k*g + lambda*w) = k * v',   where   v' = m*v + (g + (lambda/k) * w),
        w' = w - eta*u' = w - (k*eta) * v',

    and likewise with Nesterov's momentum, because every step is linear. So this is the linearly scaled rate k*eta with
    the weight decay lambda / k, for any schedule of eta: the gradient is scaled up, the weight decay is not.

    Raises:
        InputError: the optimizer is not SGD; this holds for SGD only.

    >>> from bigbatch.recipe.presets import imagenet_resnet50
    >>> loss_mean_per_worker(imagenet_resnet50(), 8192)
    ('scaling.rule=linear', 'scaling.weight_decay=keep', 'optimizer.weight_decay=3.125e-06')
    """
    if recipe.optimizer.name != "sgd":
        msg = f"the scale of the loss can be exchanged for the rate only with sgd, not with '{recipe.optimizer.name}'"
        raise InputError(msg)
    decay = (recipe.optimizer.decay or 0.0) * recipe.reference.minibatch_size / minibatch_size
    return "scaling.rule=linear", "scaling.weight_decay=keep", f"optimizer.weight_decay={decay!r}"


def growing(recipe: Recipe, _minibatch_size: int) -> Sequence[str]:
    """Grow the minibatch where the schedule would lower the rate."""
    return "growth.kind=schedule", f"growth.start={first_size(recipe)}"


def growing_with_noise(recipe: Recipe, _minibatch_size: int) -> Sequence[str]:
    """Grow the minibatch with the gradient noise scale."""
    return "growth.kind=noise-scale", f"growth.start={first_measurable_size(recipe)}"


def first_size(recipe: Recipe) -> int:
    """Return the minibatch size to grow from: growth.start, or the largest that is known to match."""
    return recipe.growth.start or recipe.reference.largest_matching or recipe.reference.minibatch_size


def first_measurable_size(recipe: Recipe) -> int:
    """Return the same, but at least two workers, whose gradients' difference is the noise."""
    return max(first_size(recipe), 2 * recipe.worker_minibatch_size)


def reference_size(recipe: Recipe) -> int:
    """Return the reference's minibatch size."""
    return recipe.reference.minibatch_size


VARIANTS: Final = {
    variant.name: variant
    for variant in (
        Variant(PLAIN, "the recipe as it is", always()),
        Variant("no-warmup", f"the scaled rate from the start ({PAPER}, table 1)", always("warmup.kind=none")),
        Variant(
            "constant-warmup",
            f"the reference rate during warmup, then the scaled one ({PAPER}, table 1)",
            always("warmup.kind=constant"),
        ),
        Variant(
            "gradual-warmup",
            f"up to the scaled rate by a constant amount an iteration ({PAPER}, table 1)",
            always("warmup.kind=gradual"),
        ),
        Variant("linear", f"the rate grows as the minibatch ({PAPER}, section 2.1)", always("scaling.rule=linear")),
        Variant(
            "square-root",
            f"the rate grows as the minibatch's square root ({PAPER}, table 2a; arXiv 1404.5997)",
            always("scaling.rule=square-root"),
        ),
        Variant("unscaled", f"the reference rate at every size ({PAPER}, table 2a)", always("scaling.rule=none")),
        Variant("halved-rate", f"half the reference rate, scaled as before ({PAPER}, table 2a)", reference_rate(0.5)),
        Variant("doubled-rate", f"twice the reference rate, scaled as before ({PAPER}, table 2a)", reference_rate(2.0)),
        Variant(
            "zero-gamma-off",
            f"gamma = 1 in the last normalisation of a residual block too ({PAPER}, table 2b)",
            always("model.zero_gamma=false"),
        ),
        Variant(
            "loss-mean-per-worker",
            f"the mistake of dividing the loss by n and keeping the rate: lambda / k ({PAPER}, section 3)",
            loss_mean_per_worker,
            follows_size=("optimizer.weight_decay",),
        ),
        Variant(
            "adascale",
            "the rate follows the measured gain, and so does the length (arXiv 2007.05105)",
            always("scaling.rule=adascale"),
            reference_size,
        ),
        Variant("lars", "a rate for each layer over SGD (arXiv 1708.03888)", always("optimizer.name=lars")),
        Variant("lamb", "a rate for each layer over Adam (arXiv 1904.00962)", always("optimizer.name=lamb")),
        Variant(
            "growing",
            "the minibatch grows where the schedule would lower the rate (arXiv 1711.00489)",
            growing,
            first_size,
        ),
        Variant(
            "growing-with-noise",
            "the minibatch grows with the gradient noise scale (arXiv 1812.06162)",
            growing_with_noise,
            first_measurable_size,
        ),
    )
}
FORMS: Final = {
    "n=N": f"N samples a worker, as in n=16: the unit of batch normalisation ({PAPER}, section 2.3)",
    "NAME:FIELD=VALUE,...": "your own, as in short:epochs=10,warmup.epochs=1",
}


def parse_variants(text: str) -> tuple[Variant, ...]:
    """Parse names that are separated by commas; a setting belongs to the NAME: before it.

    Raises:
        InputError: a name is unknown or there twice, or the user's own variant is not well formed.

    >>> [variant.name for variant in parse_variants("recipe,n=16,mine:warmup.kind=none,epochs=3,unscaled")]
    ['recipe', 'n=16', 'mine', 'unscaled']
    """
    words: list[str] = []
    for part in OUTSIDE_BRACKETS.split(text):
        if words and ":" in words[-1] and _is_setting(part):
            words[-1] += f",{part}"
        else:
            words.append(part.strip())
    variants = [find_variant(word) for word in words]
    names = [variant.name for variant in variants]
    for name in names:
        if names.count(name) > 1:
            msg = f"the variant '{name}' is there twice; name each once"
            raise InputError(msg)
    return tuple(variants)


def find_variant(word: str) -> Variant:
    """Return the variant of that name, n=N, or the user's own NAME:FIELD=VALUE,...

    Raises:
        InputError: there is none of that name; the message names the nearest.
    """
    if word in VARIANTS:
        return VARIANTS[word]
    if match := WORKERS.fullmatch(word):
        workers = always(f"worker_minibatch_size={match[1]}")
        return Variant(word, FORMS["n=N"], workers, fewest_samples=int(match[1]))
    name, colon, settings = word.partition(":")
    if colon:
        return _own(name, OUTSIDE_BRACKETS.split(settings))
    msg = f"unknown variant '{word}'; {nearest(word, list(VARIANTS))} (or n=N, or NAME:section.field=value)"
    raise InputError(msg)


def _own(name: str, settings: Sequence[str]) -> Variant:
    if not NAME.fullmatch(name) or name in VARIANTS:
        taken = "is taken" if name in VARIANTS else "must be letters, digits, dots and dashes"
        msg = f"the name of the variant '{name}:' {taken}; choose another"
        raise InputError(msg)
    for setting in settings:
        field = setting.partition("=")[0].strip()
        if not _is_setting(setting):
            msg = f"variant '{name}': '{setting}' is not section.field=value; write {name}:warmup.epochs=2, for example"
            raise InputError(msg)
        option = NOT_A_VARIANTS.get(field) or NOT_A_VARIANTS.get(field.partition(".")[0])
        if option:
            msg = f"variant '{name}' cannot set {field}; use {option}"
            raise InputError(msg)
        if setting.partition("=")[2].strip().startswith("{"):
            msg = f"variant '{name}' cannot set all of {field}; set its fields one by one, as {field}.FIELD=value"
            raise InputError(msg)
        if field.startswith("data.") and field != "data.augmentation":
            msg = f"variant '{name}' cannot set {field}: results on other data cannot be compared; use --set for all"
            raise InputError(msg)
        if field in NOT_COMPARABLE:
            msg = f"variant '{name}' cannot set {field}: what is measured must be one thing; use --set for all"
            raise InputError(msg)
    return Variant(name, "your own", always(*settings))


def _is_setting(part: str) -> bool:
    """Tell FIELD=VALUE from NAME, from n=N, and from NAME:FIELD=VALUE."""
    field, equals, _ = part.partition("=")
    return bool(equals) and ":" not in field and not WORKERS.fullmatch(part.strip())
