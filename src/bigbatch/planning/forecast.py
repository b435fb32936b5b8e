"""What can be told of a training's length, sizes and rates before it starts."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.planning.optimizer import AVERAGED
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import AdaScaleCourse, GrowingCourse, course_of
from bigbatch.recipe.sections.schedule import PLATEAU
from bigbatch.rules.sampling import iterations_per_epoch

JOHNSON: Final = "Johnson 2020, arXiv 2007.05105"
GROWTH_SOURCES: Final = {
    "schedule": "the minibatch grows where the schedule would lower the rate, Smith et al. 2018, arXiv 1711.00489",
    "noise-scale": "the minibatch follows the measured gradient noise scale, McCandlish et al. 2018, arXiv 1812.06162",
}


@dataclass(frozen=True)
class Forecast:
    """What a plan says of a course.

    Attributes:
        shortest: how many updates the training takes at each minibatch size, if it is as short as it can be.
        longest: the same, if it is as long as it can be; only the gradients can make the two differ.
        values: what the plan lists besides.
        rules: the rule and source of such a row of the plan's table.
    """

    shortest: Counter[int]
    longest: Counter[int]
    values: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the number of updates, and what the plan lists besides."""
        least, largest = self.shortest.total(), self.longest.total()
        return {
            "total_iterations": largest,
            **({"least_total_iterations": least} if least < largest else {}),
            **self.values,
        }


def forecast(recipe: Recipe, num_samples: int) -> Forecast:
    """Return what can be told of a training.

    Raises:
        InputError: the data is smaller than a minibatch.

    >>> from bigbatch.recipe.presets import digits
    >>> forecast(digits(), 1280).shortest
    Counter({16: 2400})
    """
    course = course_of(recipe, num_samples)
    if isinstance(course, AdaScaleCourse):
        return _of_adascale(course)
    if isinstance(course, GrowingCourse):
        return _of_growing_by_noise(course) if course.follows_gradients else _of_growing_by_schedule(course)
    updates = Counter({recipe.minibatch_size: course.total_iterations})
    return Forecast(updates, updates)


def _of_adascale(course: AdaScaleCourse) -> Forecast:
    size, reference, steps = course.recipe.minibatch_size, course.reference, course.schedule.total_iterations
    return Forecast(
        shortest=Counter({size: -(-steps * reference // size)}),
        longest=Counter({size: steps}),
        values={"largest_gain": size / reference},
        rules={
            "largest_gain": f"r: steps of the reference that an update is worth, measured, 1 to this ({JOHNSON})",
            "total_iterations": f"at most; ends when the gains add up to the reference's iterations ({JOHNSON})",
            "least_total_iterations": "if the gradients were all noise, as linear scaling takes them to be",
            "milestone_iterations": "in iterations of the reference, which the gains add up to",
            "average_decay": f"rho^r, at the largest gain; {AVERAGED}",
        },
    )


def _of_growing_by_schedule(course: GrowingCourse) -> Forecast:
    sizes, updates = course.epoch_sizes(), Counter[int]()
    for epoch, size in enumerate(sizes):
        updates[size] += round(min(1, course.epochs - epoch) * iterations_per_epoch(course.num_samples, size))
    first_epochs = {str(sizes.index(size) + 1): size for size in sorted(set(sizes))}
    return Forecast(
        updates,
        updates,
        values=_growing_values(course) | {"minibatch_size_from_epoch": first_epochs},
        rules=_growing_rules(
            course,
            rate="for each division of the rate by two",
            total_iterations="over all epochs, at their sizes",
        ),
    )


def _of_growing_by_noise(course: GrowingCourse) -> Forecast:
    recipe = course.recipe
    shortest, longest = (
        Counter({size: round(course.epochs * iterations_per_epoch(course.num_samples, size))})
        for size in (recipe.minibatch_size, course.start)
    )
    rules = _growing_rules(
        course, rate="and the rate with it by the rule", total_iterations="at most: if it does not grow"
    )
    return Forecast(shortest, longest, _growing_values(course), rules)


def _growing_values(course: GrowingCourse) -> dict[str, Any]:
    return {"growth": course.recipe.growth.kind, "initial_minibatch_size": course.start}


def _growing_rules(course: GrowingCourse, *, rate: str, total_iterations: str) -> dict[str, str]:
    return {
        "growth": GROWTH_SOURCES[course.recipe.growth.kind],
        "initial_minibatch_size": f"of the first epoch; it doubles between epochs, {rate}",
        "minibatch_size_from_epoch": "where the schedule makes it larger",
        "iterations_per_epoch": "once the minibatch has its full size",
        "warmup_iterations": "at the first size",
        "milestone_iterations": "as iterations of the first size; the schedule goes by epochs",
        "total_iterations": total_iterations,
        "least_total_iterations": "if the minibatch had its full size from the start",
    }


def rate_at(recipe: Recipe, num_samples: int, iteration: int) -> float:
    """Return the learning rate of an update.

    Args:
        recipe: what is trained.
        num_samples: of the training data.
        iteration: the number of the update, counted from 0.

    Raises:
        InputError: the gradients or the results decide the rate, or there is no such update.
    """
    course, left = course_of(recipe, num_samples), iteration
    if course.follows_gradients:
        msg = "the learning rate of an iteration follows from the gradients here; leave --at out"
        raise InputError(msg)
    if recipe.schedule.kind == PLATEAU:
        msg = "the learning rate of an iteration follows from the results here; leave --at out"
        raise InputError(msg)
    last = forecast(recipe, num_samples).longest.total() - 1
    while left >= (updates := course.iterations_per_epoch) and iteration <= last:
        course.now.advance(updates)
        course.end_epoch()
        left -= updates
    if not 0 <= iteration <= last:
        msg = f"iteration {iteration} is outside the training, which has 0 to {last}"
        raise InputError(msg)
    course.now.advance(left)
    return course.learning_rate
