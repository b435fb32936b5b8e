"""Go on with a run for longer than it was planned to be."""

from collections.abc import Iterable
from math import ceil
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe import Recipe
from bigbatch.recipe.course import Course, course_of
from bigbatch.training.state import TrainingState

PLACES: Final = 1_000  # at which the rates of a long training are compared


def continue_longer(training: TrainingState, old: Recipe) -> list[str]:
    """Return a note if the training goes on for longer than `old` said; refuse if that would be a mixture of two.

    What is trained must be what the longer recipe would have trained: the same rates, and whole epochs.

    Args:
        training: restored.
        old: the recipe that it was trained with until here.

    Raises:
        InputError: says where the two would have parted, and what to do.
    """
    new, now = training.recipe, training.course.now
    if old.length == new.length or not now.iteration:
        return []
    before = course_of(old, training.data.samples_per_epoch)
    before.restore(training.course.state())
    if before.is_over and before.ends_within_an_epoch:
        raise _refusal(old, new, "its last epoch was cut short, and its samples would be read again")
    for place in _places(training.course):
        rates = before.schedule(place), training.course.schedule(place)
        if rates[0] != rates[1]:
            parted = f"iteration {place} had the rate {rates[0]:g}, and would have had {rates[1]:g}"
            raise _refusal(old, new, parted)
    return [f"goes on for {new.length} instead of {old.length}: until here both have the same rates"]


def _places(course: Course) -> Iterable[int]:
    end = ceil(course.position)
    return sorted({*range(0, end, 1 + end // PLACES), max(end - 1, 0)})


def _refusal(old: Recipe, new: Recipe, why: str) -> InputError:
    return InputError(
        f"a run of {old.length} cannot go on for {new.length}: {why}; "
        "start a new run from its weights instead: bigbatch export, then --set model.weights=FILE"
    )
