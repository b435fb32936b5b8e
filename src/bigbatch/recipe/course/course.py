"""The values and functions that every kind of course gives to a trainer."""

from dataclasses import dataclass
from typing import Any, Protocol

from bigbatch.recipe.course.state import CourseState
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.rules.learning_rate import LearningRate


@dataclass(frozen=True)
class Introduction:
    """The parts of the line that introduces a course before its first update.

    Attributes:
        minibatch: its size and its workers.
        rate: the learning rate, and the rule that scales it.
        average_decay: what an average of the weights keeps in an update.
    """

    minibatch: str
    rate: str
    average_decay: str


class Course(Protocol):
    """A training's way from its first update to its last.

    Attributes:
        now: where the training is.
        schedule: the learning rate over the iterations of a training that keeps one size.
    """

    now: CourseState

    @property
    def schedule(self) -> LearningRate:
        """The rate over iterations of one size: the first size, or with AdaScale the reference's."""
        ...

    @property
    def position(self) -> float:
        """How far the training has come, in iterations of `schedule`."""
        ...

    @property
    def ends_within_an_epoch(self) -> bool:
        """Whether its last epoch is cut short, as far as is known by now."""
        ...

    @property
    def iterations_per_epoch(self) -> int:
        """Updates of this epoch, unless the training ends within it."""
        ...

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        ...

    @property
    def average_decay(self) -> float:
        """What an average of the weights keeps of itself in the next update; 0 if there is no average."""
        ...

    @property
    def measures_noise(self) -> bool:
        """Whether the noise of the next update's gradients is wanted."""
        ...

    @property
    def follows_gradients(self) -> bool:
        """Whether measured noise decides about rate, length or minibatch size, so that they cannot be planned."""
        ...

    @property
    def is_epoch_over(self) -> bool:
        """Whether this epoch has no further update."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the training has no further epoch."""
        ...

    @property
    def total_iterations(self) -> int:
        """Updates of the whole training, as far as is known by now."""
        ...

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole training, as far as is known by now."""
        ...

    @property
    def largest_size(self) -> int | None:
        """The largest minibatch size of the training; None if the gradients decide it."""
        ...

    @property
    def dropped_per_epoch(self) -> int:
        """Samples that every epoch leaves out; 0 if their number changes from epoch to epoch."""
        ...

    def observe(self, noise: GradientNoise | None) -> None:
        """Take in the noise of the next update's gradients, before its `learning_rate` is asked for."""
        ...

    def advance(self, *, is_taken: bool = True) -> None:
        """Count an update; one that was not taken is worth nothing."""
        ...

    def end_epoch(self, result: float | None = None) -> None:
        """Go on to the next epoch, and choose its minibatch size.

        Args:
            result: of the epoch that has ended, by the metric that judges, as a cost: lower is better. It may lower
                the rate.
        """
        ...

    def update_values(self) -> dict[str, Any]:
        """Return what metrics.jsonl records of the next update, besides its loss, rate and noise."""
        ...

    def epoch_values(self) -> dict[str, Any]:
        """Return what metrics.jsonl records of the epoch that is ending, besides its results."""
        ...

    def introduce(self) -> Introduction:
        """Return what a person should know before the first update."""
        ...

    def state(self) -> dict[str, Any]:
        """Return plain values from which `restore` goes on."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` has returned.

        Raises:
            InputError: it is no such state.
        """
        ...


def introduce(recipe: Recipe, minibatch_size: int) -> Introduction:
    """Return the introduction to a course that keeps its rate's rule and its minibatch size."""
    n, rate = recipe.worker_minibatch_size, recipe.reference.learning_rate
    return Introduction(
        minibatch=f"minibatch {minibatch_size} = {minibatch_size // n} workers of {n}",
        rate=f"rate {rate:g} -> {recipe.base_learning_rate:g} ({recipe.scaling.rule})",
        average_decay=f"{recipe.average_decay(minibatch_size):g}",
    )
