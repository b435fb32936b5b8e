"""A course whose minibatch grows between epochs."""

from dataclasses import replace
from typing import Any, final

from bigbatch.recipe.course.course import Introduction, introduce
from bigbatch.recipe.course.growth_rules import GROWTH_RULES, GrowthRule
from bigbatch.recipe.course.plateau import judge, plateau_factor
from bigbatch.recipe.course.state import CourseState, restored
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.rules.growth import largest_doubling
from bigbatch.rules.sampling import iterations_per_epoch


@final
class GrowingCourse:
    """A training whose minibatch doubles between epochs, as its growth rule lets it, after the warmup.

    Args:
        recipe: what is trained, with growth.
        num_samples: of the training data.
    """

    dropped_per_epoch = 0

    def __init__(self, recipe: Recipe, num_samples: int) -> None:
        self.recipe, self.num_samples = recipe, num_samples
        self.rule: GrowthRule = GROWTH_RULES[recipe.growth.kind](recipe)
        self.start = recipe.initial_minibatch_size
        self.now = CourseState(self.start)
        self.first_iterations_per_epoch = self.iterations_per_epoch
        self.schedule = recipe.learning_rate(self.first_iterations_per_epoch)
        self.ramp_epochs = recipe.ramp_epochs(self.first_iterations_per_epoch)
        self.epochs = self.schedule.total_iterations / self.first_iterations_per_epoch

    @property
    def follows_gradients(self) -> bool:
        """See `Course`."""
        return self.rule.follows_gradients

    @property
    def iterations_per_epoch(self) -> int:
        """See `Course`."""
        return iterations_per_epoch(self.num_samples, self.now.minibatch_size)

    @property
    def learning_rate(self) -> float:
        """The schedule's rate at the samples that were consumed, times the growth rule's factor for the size."""
        rate = self.schedule(self.position) * self.rule.rate_factor(self.now.minibatch_size)
        return rate * plateau_factor(self.now, self.recipe)

    @property
    def position(self) -> float:
        """See `Course`: in iterations of the first size."""
        return self.first_iterations_per_epoch * (self.now.epoch + self.now.epoch_iteration / self.iterations_per_epoch)

    @property
    def ends_within_an_epoch(self) -> bool:
        """See `Course`."""
        return not self.epochs.is_integer()

    @property
    def average_decay(self) -> float:
        """See `Course`."""
        return self.recipe.average_decay(self.now.minibatch_size)

    @property
    def measures_noise(self) -> bool:
        """In every eighth update."""
        return self.now.is_noise_due

    @property
    def is_epoch_over(self) -> bool:
        """See `Course`; the last epoch may be cut short."""
        return self.now.epoch_iteration >= min(self.iterations_per_epoch, self._iterations_from_here)

    @property
    def is_over(self) -> bool:
        """Whether the last update is done, and its epoch was ended."""
        return self.now.epoch_iteration == 0 and self._iterations_from_here <= 0

    @property
    def _iterations_from_here(self) -> int:
        """Updates from the start of this epoch to the end of the training, if the minibatch stays as it is."""
        return round((self.epochs - self.now.epoch) * self.iterations_per_epoch)

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole training; the last may be cut short."""
        return self.now.epoch + max(0, -(-self._iterations_from_here // self.iterations_per_epoch))

    @property
    def total_iterations(self) -> int:
        """Updates of the whole training, if the minibatch stays as it is."""
        return self.now.iteration - self.now.epoch_iteration + max(0, self._iterations_from_here)

    @property
    def largest_size(self) -> int | None:
        """See `Course`."""
        return None if self.follows_gradients else max(self.epoch_sizes())

    def epoch_sizes(self) -> list[int]:
        """Return the minibatch size of every epoch, if nothing is measured."""
        course, sizes = GrowingCourse(self.recipe, self.num_samples), []
        while not course.is_over:
            sizes.append(course.now.minibatch_size)
            course.end_epoch()
        return sizes

    def observe(self, noise: GradientNoise | None) -> None:
        """See `Course`."""
        self.now.observe(noise, reference=self.recipe.reference.minibatch_size)

    def advance(self, *, is_taken: bool = True) -> None:
        """Count an update, taken or not."""
        del is_taken
        self.now.advance()

    def end_epoch(self, result: float | None = None) -> None:
        """Go on to the next epoch, and let its minibatch grow after the warmup; it never shrinks."""
        self.now.end_epoch()
        judge(self.now, self.recipe, result, after=self.ramp_epochs)
        if not self.is_over and self.now.epoch >= self.ramp_epochs:
            base, rate = self.schedule.base, self.schedule(self.position)
            limit = self.rule.limit(base=base, rate=rate, noise=self.now.noise.average)
            grown = largest_doubling(self.start, self.recipe.minibatch_size, limit=limit)
            self.now.minibatch_size = max(self.now.minibatch_size, grown)

    def update_values(self) -> dict[str, Any]:
        """Return the minibatch size."""
        return {"minibatch_size": self.now.minibatch_size}

    def epoch_values(self) -> dict[str, Any]:
        """Return how many epochs there are, if the recipe alone does not say so."""
        return {} if self.recipe.epochs == self.total_epochs else {"total_epochs": self.total_epochs}

    def introduce(self) -> Introduction:
        """See `Course`."""
        plain = introduce(self.recipe, self.start)
        minibatch = f"{plain.minibatch}, growing to {self.recipe.minibatch_size}"
        return replace(plain, minibatch=minibatch, average_decay=f"{self.average_decay:g}")

    def state(self) -> dict[str, Any]:
        """See `Course`."""
        return self.now.to_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """See `Course`."""
        self.now = restored(state, self.recipe, self.num_samples)
