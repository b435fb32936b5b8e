"""A recipe: one frozen value that says all there is to say about a training, and nothing about the machine."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bigbatch.adascale import ADASCALE
from bigbatch.errors import InputError, nearest
from bigbatch.growth import GROWTHS, Growth
from bigbatch.launch_options import Checkpoints, Launch
from bigbatch.learning_rate import SCALING_RULES, SCHEDULES, WARMUPS, LearningRate
from bigbatch.losses import CROSS_ENTROPY, check_loss_name
from bigbatch.models.names import check_model_name
from bigbatch.sampling import Sampling, check_minibatch_size
from bigbatch.user_code import is_user_code

AUGMENTATIONS: Final = ("flip", "crop", "random-resized-crop")
PRECISIONS: Final = ("float32", "bfloat16")
MAX_SEED: Final = 2**63 - 1
MAX_EPOCHS: Final = 10**9  # far beyond any training, and far below what numbers of iterations overflow at
MAX_SAMPLES: Final = 2**53
MAX_PIXELS: Final = 8_192
MAX_WIDTH: Final = 65_536
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NOT_OF_THE_RESULT: Final = ("launch.", "checkpoints.", "data.path")  # what may differ between runs with the same bits


@dataclass(frozen=True)
class Reference:
    """The small-minibatch recipe that is trusted.

    Attributes:
        minibatch_size: its samples per update.
        learning_rate: its learning rate (eta).
        largest_matching: the largest minibatch size known to keep the accuracy; 0 when nobody has measured it.
    """

    minibatch_size: int
    learning_rate: float
    largest_matching: int = 0


@dataclass(frozen=True)
class Seeds:
    """Seeds of their own for parts of a run's randomness; -1 is the recipe's `seed`.

    Attributes:
        initialisation: of the weights.
        order: of the samples in every epoch.
        augmentation: of the samples, and of what else the workers draw, such as dropout.
    """

    initialisation: int = -1
    order: int = -1
    augmentation: int = -1


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        name: resnet18, 34, 50, 101; cifar-resnet8, 14, 20, ...; or `package.module:callable`, called with `arguments`.
        width: channels of the first stage; 0 means the family's own (64, or 16 for cifar-resnet).
        stem_pool: halve a small image after the stem (cifar-resnet only).
        zero_gamma: start each residual block as the identity (arXiv 1706.02677, section 5.1).
        dropout: probability of dropping a feature before the classifier.
        arguments: keyword arguments of the user's own callable.
    """

    name: str
    width: int = 0
    stem_pool: bool = False
    zero_gamma: bool = True
    dropout: float = 0.0
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What it is trained on.

    Attributes:
        name: digits, fashion-mnist, cifar10, image-folder; or `package.module:callable`, called with `arguments`.
        path: the folder or archive; "" looks in the usual places.
        augmentation: any of "flip", "crop" (by padding), "random-resized-crop" (image-folder), in this order.
        image_size: pixels of the square that an image-folder's images are cut to.
        num_train_samples: samples of the training split where they cannot be counted without the data; 0 to count.
        arguments: keyword arguments of the user's own callable.
    """

    name: str
    path: str = ""
    augmentation: tuple[str, ...] = ()
    image_size: int = 224
    num_train_samples: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaling:
    """How the learning rate follows the minibatch size: "linear", "square-root", "none" or "adascale"."""

    rule: str = "linear"


@dataclass(frozen=True)
class Warmup:
    """The first epochs after scaling up: "gradual", "constant" (both from the reference rate) or "none"."""

    kind: str = "gradual"
    epochs: float = 5.0


@dataclass(frozen=True)
class Schedule:
    """The course of the base rate: "step" (times `factor` at each milestone, in epochs), "cosine" or "constant"."""

    kind: str = "step"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1


@dataclass(frozen=True)
class Optimizer:
    """What turns gradients into updates.

    Attributes:
        name: sgd (torch's), or `package.module:callable`, called with (parameter groups, lr=..., **arguments).
        momentum: of sgd.
        nesterov: of sgd.
        weight_decay: the coefficient lambda of the L2 term, applied to the weights (arXiv 1706.02677, eq. 8).
        weight_decay_on_norms: whether normalisation layers decay too.
        weight_decay_on_biases: whether biases of other layers decay too.
        momentum_correction: correct the momentum of an optimizer that absorbs the rate (arXiv 1706.02677, eq. 10).
        arguments: keyword arguments of the user's own callable.
    """

    name: str = "sgd"
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 1e-4
    weight_decay_on_norms: bool = False
    weight_decay_on_biases: bool = False
    momentum_correction: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """Everything that a training's result depends on; and, in sections of their own, how it is launched and saved.

    Attributes:
        name: a word for people and folders.
        reference: the small-minibatch recipe that is trusted.
        model, data, seeds, scaling, growth, warmup, schedule, optimizer: see their classes.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker: the unit of batch normalisation, randomness and summation (n).
        epochs: passes over the training data.
        seed: of initialisation, order and augmentation, where `seeds` gives none of its own.
        precision: float32, or bfloat16 for autocast in the forward pass.
        loss: cross-entropy, or `package.module:callable`, a function of (output, targets) with one loss a sample.
        launch, checkpoints: how it is run and saved; the result does not depend on them.

    Raises:
        InputError: a field is out of its range; the message says what is possible.
    """

    name: str
    reference: Reference
    model: Model
    data: Data
    minibatch_size: int
    worker_minibatch_size: int
    epochs: int
    seed: int = 0
    precision: str = "float32"
    loss: str = CROSS_ENTROPY
    seeds: Seeds = field(default_factory=Seeds)
    scaling: Scaling = field(default_factory=Scaling)
    growth: Growth = field(default_factory=Growth)
    warmup: Warmup = field(default_factory=Warmup)
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = field(default_factory=Optimizer)
    launch: Launch = field(default_factory=Launch)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def __post_init__(self) -> None:
        check_minibatch_size(self.minibatch_size, self.worker_minibatch_size)
        _check_ranges(self)
        _check_choices(self)
        _check_sizes(self)
        _check_adascale(self)
        _check_growth(self)

    @property
    def worker_count(self) -> int:
        """Workers of a minibatch (k)."""
        return self.minibatch_size // self.worker_minibatch_size

    def seed_of(self, part: str) -> int:
        """Return the seed of a part of the randomness: "initialisation", "order" or "augmentation"."""
        own: int = getattr(self.seeds, part)
        return self.seed if own < 0 else own

    @property
    def is_adascale(self) -> bool:
        """Whether rate and length follow from the gradients (`course.py`)."""
        return self.scaling.rule == ADASCALE

    @property
    def is_growing(self) -> bool:
        """Whether the minibatch grows while training."""
        return self.growth.kind != "none"

    @property
    def initial_minibatch_size(self) -> int:
        """Samples per update in the first epoch."""
        return (self.growth.start or self.reference.minibatch_size) if self.is_growing else self.minibatch_size

    @property
    def base_learning_rate(self) -> float:
        """The rate after scaling, before the schedule (eta-hat); of a minibatch that grows, at its first size."""
        return self.scaled_rate(self.initial_minibatch_size)

    def scaled_rate(self, minibatch_size: int) -> float:
        """Return what the scaling rule makes of the reference rate at a minibatch size."""
        rule = SCALING_RULES[self.scaling.rule]
        return rule(
            self.reference.learning_rate, minibatch_size=minibatch_size, reference=self.reference.minibatch_size
        )

    @property
    def warmup_epochs(self) -> float:
        """Epochs of warmup; none unless the minibatch starts larger than the reference (section 2.2)."""
        scaled_up = self.initial_minibatch_size > self.reference.minibatch_size and not self.is_adascale
        return self.warmup.epochs if scaled_up and self.warmup.kind != "none" else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every field, sections as dictionaries."""
        return asdict(self)

    def sampling(self, num_samples: int) -> Sampling:
        """Return how `num_samples` training samples are cut into minibatches."""
        return Sampling(num_samples, self.minibatch_size, self.worker_minibatch_size, self.seed_of("order"))

    def learning_rate(self, iterations_per_epoch: int) -> LearningRate:
        """Return the rate of every iteration, given the number of iterations in an epoch."""
        return LearningRate(
            reference=self.reference.learning_rate,
            base=self.base_learning_rate,
            warmup=self.warmup.kind,
            warmup_iterations=round(self.warmup_epochs * iterations_per_epoch),
            schedule=self.schedule.kind,
            milestone_iterations=tuple(round(epoch * iterations_per_epoch) for epoch in self.schedule.milestones),
            factor=self.schedule.factor,
            total_iterations=self.epochs * iterations_per_epoch,
        )


def differences(old: Recipe, new: Recipe) -> list[str]:
    """Return one `section.field: old -> new` for each field in which the two recipes differ.

    Where the data lies is left out (what it is, its fingerprint says), and how the run is launched and saved.

    >>> from dataclasses import replace
    >>> small = Recipe("a", Reference(16, 0.1), Model("resnet18"), Data("digits"), 16, 16, 30)
    >>> differences(small, replace(small, minibatch_size=32))
    ['minibatch_size: 16 -> 32']
    """
    before, after = flatten(old.to_dict()), flatten(new.to_dict())
    keys = sorted(key for key in before.keys() | after.keys() if not key.startswith(NOT_OF_THE_RESULT))
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}" for key in keys if repr(before.get(key)) != repr(after.get(key))
    ]


def flatten(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return a table of tables as one table whose keys say the path.

    >>> flatten({"seed": 0, "model": {"width": 16}})
    {'seed': 0, 'model.width': 16}
    """
    flat: dict[str, object] = {}
    for key, value in table.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str)


def _check_ranges(recipe: Recipe) -> None:
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


def _check_sizes(recipe: Recipe) -> None:
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


def _check_choices(recipe: Recipe) -> None:
    choices: list[tuple[str, str, tuple[str, ...]]] = [
        ("scaling.rule", recipe.scaling.rule, tuple(SCALING_RULES)),
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


def _check_adascale(recipe: Recipe) -> None:
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


def _check_growth(recipe: Recipe) -> None:
    start = recipe.initial_minibatch_size
    if not recipe.is_growing:
        return
    check_minibatch_size(start, recipe.worker_minibatch_size)
    if start > recipe.minibatch_size:
        msg = f"growth.start {start} is larger than minibatch_size {recipe.minibatch_size}, to which it should grow"
        raise InputError(msg)
    if recipe.growth.kind == "noise-scale":
        _check_measurable(recipe, "growth.kind 'noise-scale'", start)


def _check_measurable(recipe: Recipe, what: str, minibatch_size: int) -> None:
    """Refuse to measure noise where there is nothing to compare."""
    least = 2 * recipe.worker_minibatch_size
    if minibatch_size < least:
        msg = f"{what} compares the gradients of workers: it needs at least 2 of them, {least} samples"
        raise InputError(msg)
