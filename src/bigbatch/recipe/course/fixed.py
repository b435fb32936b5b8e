"""A course whose minibatch size, rate and length the recipe fixes."""

from typing import Any, final

from bigbatch.recipe.course.course import Introduction, introduce
from bigbatch.recipe.course.plateau import judge, plateau_factor
from bigbatch.recipe.course.state import CourseState, restored
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.gradient_noise import GradientNoise


@final
class FixedCourse:
    """A training of one minibatch size, whose rate is the schedule's.

    Args:
        recipe: what is trained.
        num_samples: of the training data.

    >>> from bigbatch.recipe.presets import digits
    >>> course = FixedCourse(digits(), 1280)
    >>> course.iterations_per_epoch, course.learning_rate, course.is_over
    (80, 0.05, False)
    """

    follows_gradients = False

    def __init__(self, recipe: Recipe, num_samples: int) -> None:
        self.recipe, self.num_samples = recipe, num_samples
        self.now = CourseState(recipe.minibatch_size)
        sampling = recipe.sampling(num_samples)
        self.iterations_per_epoch, self.dropped_per_epoch = sampling.iterations_per_epoch, sampling.num_dropped
        self.schedule = recipe.learning_rate(self.iterations_per_epoch)
        self.average_decay = recipe.average_decay(recipe.minibatch_size)
        self.largest_size = recipe.minibatch_size
        self.ramp_epochs = recipe.ramp_epochs(self.iterations_per_epoch)
        self.total_iterations = self.schedule.total_iterations
        self.total_epochs = -(-self.total_iterations // self.iterations_per_epoch)

    @property
    def learning_rate(self) -> float:
        """See `Course`."""
        return self.schedule(self.now.iteration) * plateau_factor(self.now, self.recipe)

    @property
    def position(self) -> float:
        """See `Course`."""
        return self.now.iteration

    @property
    def ends_within_an_epoch(self) -> bool:
        """See `Course`."""
        return self.total_iterations % self.iterations_per_epoch != 0

    @property
    def measures_noise(self) -> bool:
        """In every eighth update: the noise is shown, and changes nothing."""
        return self.now.is_noise_due

    @property
    def is_epoch_over(self) -> bool:
        """See `Course`; the last epoch may be cut short."""
        return self.now.iteration >= self.total_iterations or self.now.epoch_iteration >= self.iterations_per_epoch

    @property
    def is_over(self) -> bool:
        """Whether the last update is done, and its epoch was ended."""
        return self.now.epoch_iteration == 0 and self.now.iteration >= self.total_iterations

    def observe(self, noise: GradientNoise | None) -> None:
        """See `Course`."""
        self.now.observe(noise, reference=self.recipe.reference.minibatch_size)

    def advance(self, *, is_taken: bool = True) -> None:
        """Count an update, taken or not."""
        del is_taken
        self.now.advance()

    def end_epoch(self, result: float | None = None) -> None:
        """Go on to the next epoch."""
        self.now.end_epoch()
        judge(self.now, self.recipe, result, after=self.ramp_epochs)

    def update_values(self) -> dict[str, Any]:
        """Return nothing: all is in the recipe."""
        return {}

    def epoch_values(self) -> dict[str, Any]:
        """Return how many epochs there are, if the recipe alone does not say so."""
        return {} if self.recipe.epochs == self.total_epochs else {"total_epochs": self.total_epochs}

    def introduce(self) -> Introduction:
        """See `Course`."""
        return introduce(self.recipe, self.now.minibatch_size)

    def state(self) -> dict[str, Any]:
        """See `Course`."""
        return self.now.to_dict()

    def restore(self, state: dict[str, Any]) -> None:
        """See `Course`."""
        self.now = restored(state, self.recipe, self.num_samples)
