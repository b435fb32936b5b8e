"""The section `schedule`."""

from dataclasses import dataclass

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import MAX_EPOCHS, check_at_least, check_at_most, check_choice, check_positive
from bigbatch.rules.learning_rate import SCHEDULES


@dataclass(frozen=True)
class Schedule:
    """How the base rate changes while training.

    Attributes:
        kind: "step" (times `factor` at each milestone), "cosine" or "constant".
        milestones: in epochs, rising.
        factor: of a step.

    Raises:
        InputError: a field is out of its range.
    """

    kind: str = "step"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_choice("schedule.kind", self.kind, SCHEDULES)
        check_positive({"schedule.factor": self.factor})
        milestones = {f"schedule.milestones[{i}]": epoch for i, epoch in enumerate(self.milestones)}
        check_at_least(0, milestones)
        check_at_most(MAX_EPOCHS, milestones)
        if list(self.milestones) != sorted(set(self.milestones)):
            msg = f"schedule.milestones must rise, not {list(self.milestones)}"
            raise InputError(msg)
