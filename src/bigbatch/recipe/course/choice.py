"""Which course a recipe asks for."""

from typing import Final

from bigbatch.recipe.course.adascale import AdaScaleCourse
from bigbatch.recipe.course.course import Course
from bigbatch.recipe.course.fixed import FixedCourse
from bigbatch.recipe.course.growing import GrowingCourse
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.duration import EPOCHS

NOMINAL_ITERATIONS: Final = 100  # of an epoch: how large a minibatch grows by the schedule does not depend on the data


def course_of(recipe: Recipe, num_samples: int) -> Course:
    """Return the course of a training, at its start.

    Args:
        recipe: what is trained.
        num_samples: of the training data.

    Raises:
        InputError: the data is smaller than a minibatch.

    >>> from bigbatch.recipe.presets import digits
    >>> course_of(digits(), 1280).total_iterations
    2400
    """
    recipe.sampling(num_samples)  # which refuses data smaller than the largest minibatch
    if recipe.is_adascale:
        return AdaScaleCourse(recipe, num_samples)
    if recipe.is_growing:
        return GrowingCourse(recipe, num_samples)
    return FixedCourse(recipe, num_samples)


def largest_size(recipe: Recipe) -> int | None:
    """Return the largest minibatch size of the training; None if the gradients decide it.

    >>> from bigbatch.recipe.presets import fashion_mnist
    >>> from bigbatch.recipe.file import with_settings
    >>> halved_once = ["schedule.kind=step", "schedule.milestones=[10]", "schedule.factor=0.5"]
    >>> largest_size(with_settings(fashion_mnist(), ["minibatch_size=512", "growth.kind=schedule", *halved_once]))
    128
    """
    num_samples = NOMINAL_ITERATIONS * recipe.minibatch_size
    if recipe.length.unit != EPOCHS:  # as many epochs as there are nominal iterations in one
        samples = recipe.length.amount * (recipe.reference.minibatch_size if recipe.iterations else 1)
        num_samples = max(num_samples, round(samples / NOMINAL_ITERATIONS))
    return course_of(recipe, num_samples).largest_size
