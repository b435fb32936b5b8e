"""The learning rate: scaling rules, warmup and schedules, as pure functions (arXiv 1706.02677, sections 2 and 5.1)."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Self

from bigbatch.errors import InputError, nearest
from bigbatch.rules.adascale import ADASCALE

ScalingRule = Callable[..., float]


def linear_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Multiply the rate by k when the minibatch size is multiplied by k (arXiv 1706.02677, section 2.1).

    Args:
        learning_rate: the reference rate eta, trusted at `reference`.
        minibatch_size: samples per update, over all workers (kn).
        reference: the minibatch size that `learning_rate` belongs to.

    >>> linear_scaling(0.1, minibatch_size=8192, reference=256)
    3.2
    """
    return learning_rate * minibatch_size / reference


def square_root_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Multiply the rate by sqrt(k): keeps the variance of an update (Krizhevsky 2014, arXiv 1404.5997, section 5).

    >>> round(square_root_scaling(0.1, minibatch_size=8192, reference=256), 4)
    0.5657
    """
    return learning_rate * math.sqrt(minibatch_size / reference)


def no_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Keep the reference rate: the paper's control, 41.67 % error at 8k (arXiv 1706.02677, table 2).

    >>> no_scaling(0.1, minibatch_size=8192, reference=256)
    0.1
    """
    del minibatch_size, reference
    return learning_rate


def adascale(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Keep the reference rate; each iteration multiplies it by a gain that its gradients tell (`adascale.py`).

    >>> adascale(0.1, minibatch_size=8192, reference=256)
    0.1
    """
    del minibatch_size, reference
    return learning_rate


SCALING_RULES: Final[dict[str, ScalingRule]] = {
    "linear": linear_scaling,
    "square-root": square_root_scaling,
    "none": no_scaling,
    ADASCALE: adascale,
}
SCALING_SOURCES: Final = {
    "linear": "linear scaling rule, arXiv 1706.02677, section 2.1",
    "square-root": "square-root rule, Krizhevsky 2014, arXiv 1404.5997",
    "none": "rate not scaled, the control of arXiv 1706.02677, table 2",
    ADASCALE: "AdaScale, arXiv 2007.05105: the reference rate times each iteration's gain, 1 to kn / reference",
}
WARMUPS: Final = ("gradual", "constant", "none")
SCHEDULES: Final = ("step", "cosine", "constant")


@dataclass(frozen=True)
class LearningRate:
    """The learning rate of every iteration: warmup from the reference rate, then the schedule from the base rate.

    Attributes:
        reference: the reference rate, where warmup starts.
        base: the rate after scaling, before the schedule (eta-hat).
        warmup: "gradual", "constant" or "none".
        warmup_iterations: updates before the base rate is reached.
        schedule: "step", "cosine" or "constant".
        milestone_iterations: first updates after each drop of the step schedule.
        factor: what a drop of the step schedule multiplies the rate by.
        total_iterations: updates of the whole training; the cosine reaches zero there.

    >>> rate = LearningRate(0.1, 3.2, "gradual", 780, "step", (4680, 9360, 12480), 0.1, 14040)
    >>> [round(rate(iteration), 4) for iteration in (0, 390, 780, 4679, 4680, 14039)]
    [0.1, 1.65, 3.2, 3.2, 0.32, 0.0032]
    """

    reference: float
    base: float
    warmup: str
    warmup_iterations: int
    schedule: str
    milestone_iterations: tuple[int, ...]
    factor: float
    total_iterations: int

    @classmethod
    def scaled(  # noqa: PLR0913 - each is a choice of the recipe
        cls,
        learning_rate: float,
        *,
        reference: int,
        minibatch_size: int,
        epochs: int,
        iterations_per_epoch: int,
        warmup_epochs: float = 5.0,
        warmup: str = "gradual",
        schedule: str = "cosine",
        milestones: tuple[float, ...] = (),
        factor: float = 0.1,
        scaling: str = "linear",
    ) -> Self:
        """Scale a rate that is trusted at a small minibatch: the whole rule of arXiv 1706.02677 in one call.

        Args:
            learning_rate: the reference rate, trusted at `reference`.
            reference: the minibatch size that it belongs to.
            minibatch_size: samples per update, over all workers (kn).
            epochs: of the whole training.
            iterations_per_epoch: updates of an epoch, `len(minibatches)`.
            warmup_epochs: epochs until the scaled rate is reached. There are none unless the minibatch is larger than
                the reference.
            warmup: "gradual", "constant" or "none".
            schedule: "cosine", "step" or "constant".
            milestones: of the step schedule, in epochs.
            factor: what each milestone multiplies the rate by.
            scaling: a name in `SCALING_RULES`.

        Raises:
            InputError: an unknown word.

        >>> rate = LearningRate.scaled(0.1, reference=256, minibatch_size=8192, epochs=90, iterations_per_epoch=156)
        >>> [round(rate(iteration), 4) for iteration in (0, 390, 780, 14039)]
        [0.1, 1.65, 3.2, 0.0]
        """
        _check_words(scaling=(scaling, SCALING_RULES), warmup=(warmup, WARMUPS), schedule=(schedule, SCHEDULES))
        sizes = {"minibatch_size": minibatch_size, "reference": reference}
        needed = warmup_needed(warmup_epochs, warmup=warmup, scaling=scaling, **sizes)
        return cls(
            reference=learning_rate,
            base=SCALING_RULES[scaling](learning_rate, **sizes),
            warmup=warmup,
            warmup_iterations=round(needed * iterations_per_epoch),
            schedule=schedule,
            milestone_iterations=tuple(round(epoch * iterations_per_epoch) for epoch in milestones),
            factor=factor,
            total_iterations=epochs * iterations_per_epoch,
        )

    def __call__(self, iteration: float) -> float:
        """Return the rate of the update number `iteration`, counted from 0; it may lie between two of them."""
        if iteration < self.warmup_iterations:
            return self._warmup_rate(iteration)
        if self.schedule == "step":
            return step_decay(self.base, iteration, self.milestone_iterations, self.factor)
        if self.schedule == "cosine":
            return cosine_decay(
                self.base, iteration - self.warmup_iterations, self.total_iterations - self.warmup_iterations
            )
        return self.base

    def _warmup_rate(self, iteration: float) -> float:
        if self.warmup == "constant":
            return self.reference
        return gradual_warmup(iteration, start=self.reference, end=self.base, num_iterations=self.warmup_iterations)


def warmup_needed(
    epochs: float, *, minibatch_size: int, reference: int, warmup: str = "gradual", scaling: str = "linear"
) -> float:
    """Return the epochs of warmup: none unless the minibatch is larger than the reference (section 2.2).

    AdaScale needs none either: its gain begins at 1 by itself.

    >>> warmup_needed(5.0, minibatch_size=8192, reference=256), warmup_needed(5.0, minibatch_size=256, reference=256)
    (5.0, 0.0)
    """
    is_needed = minibatch_size > reference and scaling != ADASCALE and warmup != "none"
    return epochs if is_needed else 0.0


def _check_words(**choices: tuple[str, Collection[str]]) -> None:
    for name, (word, known) in choices.items():
        if word not in known:
            msg = f"{name} '{word}' is unknown; {nearest(word, [*known])}"
            raise InputError(msg)


def gradual_warmup(iteration: float, *, start: float, end: float, num_iterations: int) -> float:
    """Go from `start` at iteration 0 to `end` at iteration `num_iterations` by a constant amount (section 2.2).

    >>> [gradual_warmup(i, start=1.0, end=3.0, num_iterations=4) for i in range(5)]
    [1.0, 1.5, 2.0, 2.5, 3.0]
    """
    return start + (end - start) * iteration / num_iterations


def step_decay(base: float, iteration: float, milestones: tuple[int, ...], factor: float) -> float:
    """Multiply the base rate by `factor` once for each milestone that is reached (section 5.1).

    >>> [round(step_decay(1.0, i, (30, 60), 0.1), 4) for i in (29, 30, 60)]
    [1.0, 0.1, 0.01]
    """
    return base * factor ** sum(iteration >= milestone for milestone in milestones)


def cosine_decay(base: float, iteration: float, num_iterations: int) -> float:
    """Go from `base` to zero along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, no restart).

    >>> [round(cosine_decay(1.0, i, 4), 4) for i in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """
    return base * (1 + math.cos(math.pi * iteration / num_iterations)) / 2
