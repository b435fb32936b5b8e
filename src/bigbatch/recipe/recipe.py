"""The recipe itself: what its fields mean together, and what follows from them."""

import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.models.names import check_task
from bigbatch.recipe.losses import CROSS_ENTROPY, check_loss_name, check_objective
from bigbatch.recipe.metrics import TOP_1_ERROR, check_metric_names
from bigbatch.recipe.numerics import NATIVE, check_numerics
from bigbatch.recipe.scaled_optimizer import scale_optimizer
from bigbatch.recipe.sections import (
    Average,
    Checkpoints,
    Data,
    Evaluation,
    Growth,
    Launch,
    Model,
    Optimizer,
    Reference,
    Scaling,
    Schedule,
    Seeds,
    Warmup,
)
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_most, check_choice, check_positive
from bigbatch.recipe.sections.duration import Duration, one_duration
from bigbatch.recipe.sections.growth import BY_NOISE_SCALE, BY_SCHEDULE, NO_GROWTH
from bigbatch.recipe.sections.optimizer import ADAM_LIKE, BY_SQUARE_ROOT, LAYERWISE
from bigbatch.recipe.sections.scaling import KEEP, SQUARE_ROOT
from bigbatch.recipe.sections.schedule import PLATEAU
from bigbatch.recipe.sections.seeds import MAX_SEED
from bigbatch.rules.adascale import ADASCALE
from bigbatch.rules.duration import EPOCHS, UNITS, in_epochs
from bigbatch.rules.learning_rate import LearningRate, warmup_needed
from bigbatch.rules.optimizer_scaling import scale_average_decay
from bigbatch.rules.sampling import Sampling, check_minibatch_size
from bigbatch.rules.scaling import SCALING_RULES
from bigbatch.rules.schedules import FALLS
from bigbatch.user_code import call_user_code, is_user_code, load_callable

PRECISIONS: Final = ("float32", "tf32", "bfloat16")
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Recipe:
    """All that a training's result depends on; two sections, `launch` and `checkpoints`, say how it is run and saved.

    Attributes:
        name: a word for people; the run's folder is named after it.
        reference: the small-minibatch recipe that is trusted.
        model, data, seeds, scaling, growth, warmup, schedule, optimizer, average, evaluation: see their classes.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker: the unit of batch normalisation, randomness and summation (n).
        epochs: how long the training is, in passes over the training data. The last pass may be cut short.
        iterations: how long it is, in iterations of the reference. A minibatch of twice its size takes half as many.
        samples: how long it is, in samples. One of `epochs`, `iterations` and `samples` is given; the others are 0.
        seed: of the first weights, the order of samples and the augmentation, where `seeds` has no other.
        precision: "float32", "tf32" for a GPU's rounded products of float32, or "bfloat16" for autocast of the forward
            pass.
        numerics: "native" computes as fast as the machine can; its bits are those of one kind of CPU or model of GPU.
            "portable" gives the same bits on every x86-64 CPU with AVX2, and is slower; there is none for GPUs.
        loss: what is minimised: "cross-entropy", "token-cross-entropy", "pixel-cross-entropy", "binary-cross-entropy",
            "mean-squared-error" or `package.module:callable`. The callable is given (outputs, targets), and returns one
            loss a sample or a `Loss`.
        objective: in the place of `loss`: "detection" for the losses that a detector has itself, or
            `package.module:callable`; "" for none. The callable is given (model, batch), and returns one loss a sample
            or a `Loss`.
        metrics: what the model is judged by on the validation data: "top-1-error", "top-5-error", "mean-loss",
            "perplexity", "mean-iou", "coco-box-ap", "coco-box-ap50", "coco-box-ap75", "coco-mask-ap", "coco-mask-ap50",
            "coco-mask-ap75" or `package.module:callable`. The first one is the run's result, and decides which
            checkpoint is the best.
        launch, checkpoints: how the training is run and saved; its result does not depend on them.

    Raises:
        InputError: a field is out of its range; the message says what is possible.
    """

    name: str
    reference: Reference
    model: Model
    data: Data
    minibatch_size: int
    worker_minibatch_size: int
    epochs: float = 0
    iterations: int = 0
    samples: int = 0
    seed: int = 0
    precision: str = "float32"
    numerics: str = NATIVE
    loss: str = CROSS_ENTROPY
    objective: str = ""
    metrics: tuple[str, ...] = (TOP_1_ERROR.name,)
    seeds: Seeds = field(default_factory=Seeds)
    scaling: Scaling = field(default_factory=Scaling)
    growth: Growth = field(default_factory=Growth)
    warmup: Warmup = field(default_factory=Warmup)
    schedule: Schedule = field(default_factory=Schedule)
    optimizer: Optimizer = field(default_factory=Optimizer)
    average: Average = field(default_factory=Average)
    evaluation: Evaluation = field(default_factory=Evaluation)
    launch: Launch = field(default_factory=Launch)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def __post_init__(self) -> None:
        check_minibatch_size(self.minibatch_size, self.worker_minibatch_size)
        self._check_fields()
        _check_learning_rate(self)
        _check_adascale(self)
        _check_growth(self)
        _ = self.scaled_optimizer  # which refuses what cannot be scaled to this minibatch size

    def _check_fields(self) -> None:
        """Refuse what is wrong with a field that stands in no section."""
        self._check_length()
        check_at_most(MAX_SAMPLES, {"minibatch_size": self.minibatch_size})
        check_choice("precision", self.precision, PRECISIONS)
        check_numerics(self.numerics, precision=self.precision, is_compiled=self.model.compile)
        check_loss_name(self.loss)
        check_objective(self.objective, self.loss)
        check_task(self.model.name, self.task)
        check_metric_names(self.metrics)
        self.model.check_groups(self.worker_minibatch_size)
        if not 0 <= self.seed <= MAX_SEED:
            msg = f"seed must be between 0 and {MAX_SEED}, not {self.seed}"
            raise InputError(msg)
        if not NAME.fullmatch(self.name):
            msg = f"name '{self.name}' must be letters, digits, dots and dashes: it names the run's folder"
            raise InputError(msg)

    def _check_length(self) -> None:
        """Refuse a training that has no length, or two, and a warmup of which nobody said how long it is."""
        if isinstance(self.epochs, float) and self.epochs.is_integer():
            object.__setattr__(self, "epochs", int(self.epochs))  # run folders and tables say 30 epochs, not 30.0
        if not (self.iterations or self.samples):
            check_positive({"epochs": self.epochs})
        if self.length.unit != EPOCHS and self.is_warming_up and self.warmup.duration.unit == EPOCHS:
            msg = (
                f"the training lasts {self.length}, so say how long the warmup is: set warmup.iterations or "
                "warmup.samples, or warmup.kind = none"
            )
            raise InputError(msg)

    @property
    def length(self) -> Duration:
        """How long the training is."""
        return one_duration({unit: getattr(self, unit) for unit in UNITS})

    @property
    def task(self) -> str:
        """The name of what is minimised: its objective, or else its loss."""
        return self.objective or self.loss

    @property
    def worker_count(self) -> int:
        """Workers of a minibatch (k)."""
        return self.minibatch_size // self.worker_minibatch_size

    def seed_of(self, part: str) -> int:
        """Return the seed of a part of the randomness: "initialisation", "order" or "augmentation"."""
        own: int = getattr(self.seeds, part)
        return self.seed if own < 0 else own

    @property
    def user_code(self) -> tuple[str, ...]:
        """The names in it that are the user's own code, each `package.module:callable`."""
        sections = (self.model.name, *self.data.user_code, self.optimizer.name, self.schedule.kind)
        names = (*sections, self.loss, self.objective, *self.metrics, self.evaluation.predict)
        return tuple(name for name in names if is_user_code(name))

    @property
    def is_adascale(self) -> bool:
        """Whether rate and length follow from the gradients."""
        return self.scaling.rule == ADASCALE

    @property
    def is_growing(self) -> bool:
        """Whether the minibatch grows while training."""
        return self.growth.kind != NO_GROWTH

    @property
    def is_fixed(self) -> bool:
        """Whether the recipe alone decides minibatch size, rate and length, and no measurement does."""
        return not (self.is_adascale or self.is_growing)

    @property
    def initial_minibatch_size(self) -> int:
        """Samples per update in the first epoch."""
        return (self.growth.start or self.reference.minibatch_size) if self.is_growing else self.minibatch_size

    @property
    def initial_worker_count(self) -> int:
        """Workers of a minibatch in the first epoch; no more processes than that can train."""
        return self.initial_minibatch_size // self.worker_minibatch_size

    @property
    def base_learning_rate(self) -> float:
        """The rate after scaling, before the schedule (eta-hat); at the first size if the minibatch grows."""
        return self.scaled_rate(self.initial_minibatch_size)

    def scaled_rate(self, minibatch_size: int) -> float:
        """Return the reference rate as the scaling rule scales it for a minibatch size."""
        rule = SCALING_RULES[self.scaling.rule]
        return rule(
            self.reference.learning_rate, minibatch_size=minibatch_size, reference=self.reference.minibatch_size
        )

    @property
    def scaled_optimizer(self) -> Optimizer:
        """The optimizer's settings after scaling, which the training uses."""
        return scale_optimizer(
            self.optimizer,
            self.scaling,
            minibatch_size=self.minibatch_size,
            reference=self.reference.minibatch_size,
        )

    def average_decay(self, minibatch_size: int) -> float:
        """Return what the average of the weights keeps of itself in an update of a minibatch size; 0 for none."""
        return scale_average_decay(
            self.average.decay, minibatch_size=minibatch_size, reference=self.reference.minibatch_size
        )

    @property
    def is_warming_up(self) -> bool:
        """Whether the section `warmup` applies: the minibatch starts larger than the reference (section 2.2)."""
        return bool(self._gradual_epochs(1.0))

    @property
    def warmup_epochs(self) -> float:
        """Epochs of the section `warmup`; 0 if it does not apply, or is given in another unit."""
        return self._gradual_epochs(self.warmup.epochs if self.warmup.duration.unit == EPOCHS else 0.0)

    def ramp_epochs(self, iterations_per_epoch: int, minibatch_size: int = 0) -> float:
        """Return the epochs until this warmup and the reference's own are over; the arguments as `learning_rate`'s."""
        in_epochs = self._in_epochs(iterations_per_epoch, minibatch_size)
        return max(self._gradual_epochs(in_epochs(*self.warmup.duration)), in_epochs(*self.reference.warmup))

    def _gradual_epochs(self, epochs: float) -> float:
        return warmup_needed(
            epochs,
            minibatch_size=self.initial_minibatch_size,
            reference=self.reference.minibatch_size,
            warmup=self.warmup.kind,
            scaling=self.scaling.rule,
            schedule=self.schedule.kind,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return every field as it is used, sections as dictionaries; a weight decay that nobody sets is left out."""
        table = asdict(self)
        table["optimizer"]["weight_decay"] = self.optimizer.decay
        if self.optimizer.decay is None:
            del table["optimizer"]["weight_decay"]
        return table

    def sampling(self, num_samples: int, minibatch_size: int = 0) -> Sampling:
        """Return how `num_samples` training samples are cut into minibatches, of the recipe's full size by default."""
        size = minibatch_size or self.minibatch_size
        return Sampling(num_samples, size, self.worker_minibatch_size, self.seed_of("order"))

    def learning_rate(self, iterations_per_epoch: int, minibatch_size: int = 0) -> LearningRate:
        """Return the rate of every iteration; no result lowers it yet.

        Args:
            iterations_per_epoch: updates of an epoch.
            minibatch_size: with which they are counted; by default, that of the first epoch.
        """
        in_epochs, unit = self._in_epochs(iterations_per_epoch, minibatch_size), self.length.unit
        options = self.schedule.options
        if "period" in options:
            options["period"] = in_epochs(self.schedule.period, unit)
        return LearningRate.scaled(
            self.reference.learning_rate,
            reference=self.reference.minibatch_size,
            minibatch_size=self.initial_minibatch_size,
            epochs=in_epochs(*self.length),
            iterations_per_epoch=iterations_per_epoch,
            warmup_epochs=in_epochs(*self.warmup.duration),
            warmup=self.warmup.kind,
            schedule=self._schedule(),
            milestones=tuple(in_epochs(place, unit) for place in self.schedule.milestones),
            factor=self.schedule.factor,
            scaling=self.scaling.rule,
            own_warmup_epochs=in_epochs(*self.reference.warmup),
            own_warmup_start=self.reference.warmup_start,
            **options,
        )

    def _in_epochs(self, iterations_per_epoch: int, minibatch_size: int) -> Callable[[float, str], float]:
        return partial(
            in_epochs,
            iterations_per_epoch=iterations_per_epoch,
            minibatch_size=minibatch_size or self.initial_minibatch_size,
            reference=self.reference.minibatch_size,
        )

    def _schedule(self) -> str | Callable[[float], float]:
        kind, arguments = self.schedule.kind, self.schedule.arguments
        if not is_user_code(kind):
            return "constant" if kind == PLATEAU else kind
        call_user_code(kind, 0.0, **arguments)  # which refuses arguments that it does not take
        return partial(load_callable(kind), **arguments)


def _check_learning_rate(recipe: Recipe) -> None:
    """Refuse a rate that scaling or the schedule makes infinite."""
    try:
        last = recipe.base_learning_rate * recipe.schedule.factor ** len(recipe.schedule.milestones)
    except OverflowError:
        last = math.inf
    if not (math.isfinite(recipe.base_learning_rate) and math.isfinite(last)):
        msg = f"the learning rate becomes infinite: {recipe.base_learning_rate:g} after scaling, {last:g} at the end"
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
    if recipe.optimizer.name in {*ADAM_LIKE, *LAYERWISE} or recipe.scaling.weight_decay != KEEP:
        msg = "scaling.rule 'adascale' is a rule for SGD: use optimizer.name=sgd and scaling.weight_decay=keep"
        raise InputError(msg)


def _check_growth(recipe: Recipe) -> None:
    if not recipe.is_growing:
        return
    start = recipe.initial_minibatch_size
    check_minibatch_size(start, recipe.worker_minibatch_size)
    if start > recipe.minibatch_size:
        msg = f"growth.start {start} is larger than minibatch_size {recipe.minibatch_size}, to which it should grow"
        raise InputError(msg)
    is_scaled = recipe.optimizer.name in BY_SQUARE_ROOT and recipe.scaling.rule == SQUARE_ROOT
    if is_scaled or recipe.scaling.weight_decay != KEEP:
        msg = "a growing minibatch changes the rate alone, not betas or weight decay; use sgd, or growth.kind=none"
        raise InputError(msg)
    only_falls = recipe.schedule.kind in FALLS and not recipe.schedule.period
    if recipe.growth.kind == BY_SCHEDULE and not only_falls:
        msg = f"growth.kind 'schedule' needs a schedule that only falls: {', '.join(FALLS)} (without restarts)"
        raise InputError(msg)
    if recipe.growth.kind == BY_NOISE_SCALE:
        _check_measurable(recipe, "growth.kind 'noise-scale'", start)


def _check_measurable(recipe: Recipe, what: str, minibatch_size: int) -> None:
    """Refuse to measure noise with fewer than two workers."""
    least = 2 * recipe.worker_minibatch_size
    if minibatch_size < least:
        msg = f"{what} compares the gradients of workers: it needs at least 2 of them, {least} samples"
        raise InputError(msg)
