"""The recipe itself, and what follows from its fields."""

from dataclasses import asdict, dataclass, field
from typing import Any

from bigbatch.models.losses import CROSS_ENTROPY
from bigbatch.recipe.checks import check_recipe
from bigbatch.recipe.launch import Checkpoints, Launch
from bigbatch.recipe.optimizer import Average, Optimizer
from bigbatch.recipe.scaling import scale_average_decay, scale_optimizer
from bigbatch.recipe.sections import Data, Model, Reference, Scaling, Schedule, Seeds, Warmup
from bigbatch.rules.adascale import ADASCALE
from bigbatch.rules.growth import Growth
from bigbatch.rules.learning_rate import SCALING_RULES, LearningRate
from bigbatch.rules.sampling import Sampling, check_minibatch_size
from bigbatch.user_code import is_user_code


@dataclass(frozen=True)
class Recipe:
    """Everything that a training's result depends on; and, in sections of their own, how it is launched and saved.

    Attributes:
        name: a word for people and folders.
        reference: the small-minibatch recipe that is trusted.
        model, data, seeds, scaling, growth, warmup, schedule, optimizer, average: see their classes.
        minibatch_size: samples per update, over all workers (kn).
        worker_minibatch_size: samples of one worker: the unit of batch normalisation, randomness and summation (n).
        epochs: passes over the training data.
        seed: of initialisation, order and augmentation, where `seeds` gives none of its own.
        precision: float32, or bfloat16 for autocast in the forward pass.
        loss: to train by: cross-entropy, or `package.module:callable`, a function of (output, targets) with one loss a
            sample. What is evaluated is top-1 error and cross-entropy either way.
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
    average: Average = field(default_factory=Average)
    launch: Launch = field(default_factory=Launch)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)

    def __post_init__(self) -> None:
        check_minibatch_size(self.minibatch_size, self.worker_minibatch_size)
        check_recipe(self)

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
        """What of it is the user's own code, each as `package.module:callable`."""
        names = (self.model.name, self.data.name, self.optimizer.name, self.loss)
        return tuple(name for name in names if is_user_code(name))

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
    def initial_worker_count(self) -> int:
        """Workers of a minibatch in the first epoch: the most processes that can train."""
        return self.initial_minibatch_size // self.worker_minibatch_size

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
    def scaled_optimizer(self) -> Optimizer:
        """The optimizer's settings after scaling: what the training uses."""
        sizes = {"minibatch_size": self.minibatch_size, "reference": self.reference.minibatch_size}
        return scale_optimizer(
            self.optimizer,
            rule=self.scaling.rule,
            weight_decay_rule=self.scaling.weight_decay,
            rate_ratio=SCALING_RULES[self.scaling.rule](1.0, **sizes),
            **sizes,
        )

    def average_decay(self, minibatch_size: int) -> float:
        """Return what the average of the weights keeps of itself in an update of a minibatch size; 0 for none."""
        return scale_average_decay(
            self.average.decay, minibatch_size=minibatch_size, reference=self.reference.minibatch_size
        )

    @property
    def warmup_epochs(self) -> float:
        """Epochs of warmup; none unless the minibatch starts larger than the reference (section 2.2)."""
        scaled_up = self.initial_minibatch_size > self.reference.minibatch_size and not self.is_adascale
        return self.warmup.epochs if scaled_up and self.warmup.kind != "none" else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every field, sections as dictionaries."""
        return asdict(self)

    def sampling(self, num_samples: int, minibatch_size: int = 0) -> Sampling:
        """Return how `num_samples` training samples are cut into minibatches, of the recipe's full size by default."""
        size = minibatch_size or self.minibatch_size
        return Sampling(num_samples, size, self.worker_minibatch_size, self.seed_of("order"))

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
