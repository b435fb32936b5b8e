"""What a plan says of a training whose rate, length or minibatch size follows from its course."""

from collections import Counter
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import Course

NOMINAL_ITERATIONS: Final = 100  # of an epoch whose real ones do not matter
JOHNSON: Final = "Johnson 2020, arXiv 2007.05105"
GROWTH_SOURCES: Final = {
    "schedule": "the minibatch grows where the schedule would lower the rate, Smith et al. 2018, arXiv 1711.00489",
    "noise-scale": "the minibatch follows the measured gradient noise scale, McCandlish et al. 2018, arXiv 1812.06162",
}


def epoch_sizes(recipe: Recipe, num_samples: int) -> list[int] | None:
    """Return the minibatch size of every epoch; None where the gradients will decide.

    >>> from bigbatch.recipe.presets import digits
    >>> epoch_sizes(digits(), 1280)[:3]
    [16, 16, 16]
    """
    if recipe.is_adascale or recipe.growth.kind == "noise-scale":
        return None
    course, sizes = Course(recipe, num_samples), []
    while not course.is_over:
        sizes.append(course.place.minibatch_size)
        course.end_epoch()
    return sizes


def largest_size(recipe: Recipe) -> int | None:
    """Return the size that the minibatch grows to at last; None where the gradients will decide.

    >>> from bigbatch.recipe.presets import fashion_mnist
    >>> from bigbatch.recipe.file import with_settings
    >>> halved_once = ["schedule.kind=step", "schedule.milestones=[10]", "schedule.factor=0.5"]
    >>> largest_size(with_settings(fashion_mnist(), ["minibatch_size=512", "growth.kind=schedule", *halved_once]))
    128
    """
    sizes = epoch_sizes(recipe, NOMINAL_ITERATIONS * recipe.minibatch_size)  # the schedule goes by epochs
    return max(sizes) if sizes else None


def updates_by_size(recipe: Recipe, num_samples: int) -> list[Counter[int]]:
    """Return how many updates the training takes at each minibatch size.

    Where the gradients will decide there are two such counts: of the shortest training, and of the longest.
    """
    sizes, full = epoch_sizes(recipe, num_samples), recipe.minibatch_size
    if sizes is not None:
        return [sum((Counter({size: num_samples // size}) for size in sizes), Counter())]
    if recipe.is_adascale:
        steps = Course(recipe, num_samples).schedule.total_iterations
        return [Counter({full: -(-steps * recipe.reference.minibatch_size // full)}), Counter({full: steps})]
    return [Counter({size: recipe.epochs * (num_samples // size)}) for size in (full, recipe.initial_minibatch_size)]


def iteration_bounds(recipe: Recipe, num_samples: int) -> tuple[int, int]:
    """Return the least and the largest number of updates that the training may take."""
    totals = [updates.total() for updates in updates_by_size(recipe, num_samples)]
    return totals[0], totals[-1]


def rate_at(recipe: Recipe, num_samples: int, iteration: int) -> float:
    """Return the learning rate of an update.

    Raises:
        InputError: it is not known before the training, or there is no such update.
    """
    sizes = epoch_sizes(recipe, num_samples)
    if sizes is None:
        msg = "the learning rate of an iteration follows from the gradients here; leave --at out"
        raise InputError(msg)
    course, left = Course(recipe, num_samples), iteration
    for epoch, size in enumerate(sizes):
        if 0 <= left < num_samples // size:
            place = course.place
            place.epoch, place.epoch_iteration, place.iteration, place.minibatch_size = epoch, left, iteration, size
            return course.learning_rate
        left -= num_samples // size
    last = sum(num_samples // size for size in sizes) - 1
    msg = f"iteration {iteration} is outside the training, which has 0 to {last}"
    raise InputError(msg)


def adaptive_values(recipe: Recipe, num_samples: int) -> dict[str, Any]:
    """Return what is planned besides, where anything is."""
    least, largest = iteration_bounds(recipe, num_samples)
    values: dict[str, Any] = {"total_iterations": largest}
    if least < largest:
        values["least_total_iterations"] = least
    if recipe.is_adascale:
        values["largest_gain"] = recipe.minibatch_size / recipe.reference.minibatch_size
    if recipe.is_growing:
        values["growth"] = recipe.growth.kind
        values["initial_minibatch_size"] = recipe.initial_minibatch_size
        sizes = epoch_sizes(recipe, num_samples)
        if sizes:  # of the first epoch of each
            values["minibatch_size_from_epoch"] = {str(sizes.index(size) + 1): size for size in sorted(set(sizes))}
    return values


def adaptive_rules(recipe: Recipe) -> dict[str, str]:
    """Return the rule and source of each such row of the table."""
    rules: dict[str, str] = {}
    if recipe.is_adascale:
        rules["largest_gain"] = f"r: steps of the reference that an update is worth, measured, 1 to this ({JOHNSON})"
        rules["warmup_epochs"] = (
            f"none: the gain is low where gradients are mostly signal, as they usually are at first ({JOHNSON})"
        )
        rules["total_iterations"] = f"at most; ends when the gains add up to the reference's iterations ({JOHNSON})"
        rules["least_total_iterations"] = "if the gradients were all noise, as linear scaling takes them to be"
        rules["milestone_iterations"] = "in iterations of the reference, which the gains add up to"
    if recipe.is_growing:
        is_known = recipe.growth.kind == "schedule"
        rules["growth"] = GROWTH_SOURCES[recipe.growth.kind]
        rate = "for each division of the rate by two" if is_known else "and the rate with it by the rule"
        rules["initial_minibatch_size"] = f"of the first epoch; it doubles between epochs, {rate}"
        rules["minibatch_size_from_epoch"] = "where the schedule makes it larger"
        rules["iterations_per_epoch"] = "once the minibatch has its full size"
        rules["warmup_iterations"] = "at the first size"
        rules["milestone_iterations"] = "as iterations of the first size; the schedule goes by epochs"
        rules["total_iterations"] = "over all epochs, at their sizes" if is_known else "at most: if it does not grow"
        rules["least_total_iterations"] = "if the minibatch had its full size from the start"
    return rules
