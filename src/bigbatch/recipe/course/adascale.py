"""A course with AdaScale: each update's rate, and the length of the training, follow from the gradients."""

from dataclasses import replace
from typing import Any, final

from bigbatch.recipe.course.course import Introduction, introduce
from bigbatch.recipe.course.plateau import judge, plateau_factor
from bigbatch.recipe.course.state import CourseState, restored
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.adascale import gain
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.rules.sampling import iterations_per_epoch


@final
class AdaScaleCourse:
    """A training that counts in steps of the reference: an update is worth its gain (arXiv 2007.05105).

    Its rate is the reference's at that step, times the gain. It ends when it has come as far as the reference.

    Args:
        recipe: what is trained, with the rule "adascale".
        num_samples: of the training data.
    """

    follows_gradients = True
    measures_noise = True

    def __init__(self, recipe: Recipe, num_samples: int) -> None:
        self.recipe, self.num_samples, self.reference = recipe, num_samples, recipe.reference.minibatch_size
        self.now = CourseState(recipe.minibatch_size)
        sampling = recipe.sampling(num_samples)
        self.iterations_per_epoch, self.dropped_per_epoch = sampling.iterations_per_epoch, sampling.num_dropped
        self.schedule = recipe.learning_rate(iterations_per_epoch(num_samples, self.reference), self.reference)
        self.ramp_epochs = recipe.ramp_epochs(self.iterations_per_epoch)
        self.largest_size = recipe.minibatch_size

    @property
    def learning_rate(self) -> float:
        """The reference's rate at the step that the training has come to, times the gain."""
        rate = self.schedule(min(int(self.now.steps), self.schedule.total_iterations - 1))
        return self.now.gain * rate * plateau_factor(self.now, self.recipe)

    @property
    def position(self) -> float:
        """See `Course`."""
        return self.now.steps

    @property
    def ends_within_an_epoch(self) -> bool:
        """See `Course`."""
        return self.total_iterations % self.iterations_per_epoch != 0

    @property
    def average_decay(self) -> float:
        """The decay of as many updates of the reference as the next update is worth."""
        return float(self.recipe.average.decay**self.now.gain)

    @property
    def is_epoch_over(self) -> bool:
        """See `Course`; the last epoch may be cut short."""
        return self._has_come_as_far or self.now.epoch_iteration >= self.iterations_per_epoch

    @property
    def is_over(self) -> bool:
        """Whether the training has come as far as the reference, and its last epoch was ended."""
        return self.now.epoch_iteration == 0 and self._has_come_as_far

    @property
    def _has_come_as_far(self) -> bool:
        """Whether the reference's end is reached; at the latest after as many updates, some of them not taken."""
        return max(self.now.steps, self.now.iteration) >= self.schedule.total_iterations

    @property
    def total_iterations(self) -> int:
        """Updates of the whole training, if the gain stays as it is."""
        left = max(0, round((self.schedule.total_iterations - self.now.steps) / self.now.gain))
        return self.now.iteration + left

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole training, if the gain stays as it is; the last may be cut short."""
        return -(-self.total_iterations // self.iterations_per_epoch)

    def observe(self, noise: GradientNoise | None) -> None:
        """Average the noise of the next update's gradients, and compute its gain."""
        self.now.observe(noise, reference=self.reference, iterations=1)
        average = self.now.noise.average
        if noise is not None and average:
            self.now.gain = gain(average, minibatch_size=self.now.minibatch_size, reference=self.reference)

    def advance(self, *, is_taken: bool = True) -> None:
        """Count an update, and what it is worth if it was taken."""
        self.now.advance()
        if is_taken:
            self.now.steps += self.now.gain

    def end_epoch(self, result: float | None = None) -> None:
        """Go on to the next epoch."""
        self.now.end_epoch()
        judge(self.now, self.recipe, result, after=self.ramp_epochs)

    def update_values(self) -> dict[str, Any]:
        """Return the gain."""
        return {"gain": self.now.gain}

    def epoch_values(self) -> dict[str, Any]:
        """Return how many epochs are expected."""
        return {"total_epochs": self.total_epochs}

    def introduce(self) -> Introduction:
        """See `Course`."""
        recipe = self.recipe
        rate = f"rate {recipe.reference.learning_rate:g} x gain, 1 to {recipe.minibatch_size / self.reference:g}"
        return replace(
            introduce(recipe, recipe.minibatch_size),
            rate=f"{rate} ({recipe.scaling.rule})",
            average_decay=f"{recipe.average.decay:g}^gain",
        )

    def state(self) -> dict[str, Any]:
        """See `Course`."""
        return self.now.to_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """See `Course`."""
        self.now = restored(state, self.recipe, self.num_samples)
