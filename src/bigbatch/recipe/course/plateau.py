"""How the results lower the rate of a recipe whose schedule is "plateau"."""

from bigbatch.recipe.course.state import CourseState
from bigbatch.recipe.recipe import Recipe
from bigbatch.recipe.sections.schedule import PLATEAU


def judge(now: CourseState, recipe: Recipe, result: float | None, *, after: float) -> None:
    """Take in the result of the epoch that has just ended.

    Args:
        now: where the training is, at the start of the next epoch.
        recipe: what is trained.
        result: the epoch's, as a cost: lower is better; None if nothing was measured.
        after: epochs of warmup, in which no result counts.
    """
    if recipe.schedule.kind == PLATEAU and result is not None and now.epoch > after:
        now.plateau = now.plateau.after(result, patience=recipe.schedule.patience)


def plateau_factor(now: CourseState, recipe: Recipe) -> float:
    """Return what the results have multiplied the rate by so far."""
    return recipe.schedule.factor**now.plateau.reductions if recipe.schedule.kind == PLATEAU else 1.0
