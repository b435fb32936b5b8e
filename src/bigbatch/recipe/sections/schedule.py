"""The section `schedule`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from bigbatch.errors import InputError, nearest
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most, check_positive
from bigbatch.rules.schedules import SCHEDULES, check_options, options_of
from bigbatch.user_code import is_user_code

PLATEAU: Final = "plateau"  # the results lower the rate, so it is no function of the iteration alone
KINDS: Final = (*SCHEDULES, PLATEAU)
USED_BY_PLATEAU: Final = ("factor", "patience")
MAY_BE_IDLE: Final = ("milestones", "factor")  # so that a preset's schedule can be exchanged by its kind alone


@dataclass(frozen=True)
class Schedule:
    """How the base rate changes while training.

    Attributes:
        kind: "step" (times `factor` at each milestone), "cosine", "constant", "linear", "polynomial",
            "warmup-stable-decay", "one-cycle", "plateau" (times `factor` where the results no longer improve) or
            `package.module:callable`. The callable is given the progress of the training (at least 0 and below 1) and
            `arguments`, and returns what the base rate is multiplied by. It depends on nothing else.
        milestones: of step: where the rate drops, rising, in the unit of the recipe's length.
        factor: of step and plateau: what the rate is multiplied by when it drops.
        floor: of cosine, linear, polynomial and warmup-stable-decay: where they end, as a share of the base rate.
        period: of cosine: how long until it first restarts, in the unit of the recipe's length; 0 for no restart.
        period_factor: of cosine: how many times as long as the one before each further period is.
        power: of polynomial: the exponent of the share of the training that is left.
        share: of warmup-stable-decay: the share of the training in which the rate goes down (0.2). Of one-cycle: the
            share in which it goes up (0.3). 0 stands for these defaults.
        decay: of warmup-stable-decay: how the rate goes down, "linear" or "1-sqrt".
        start_divisor: of one-cycle: its peak (the base rate) over its first rate.
        end_divisor: of one-cycle: its first rate over its last.
        patience: of plateau: epochs in a row without a better result that it waits for; the next one lowers the rate.
        arguments: keyword arguments of your own callable.

    Raises:
        InputError: a field is out of its range, or set for a schedule that does not use it.
    """

    kind: str = "step"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    floor: float = 0.0
    period: float = 0.0
    period_factor: float = 1.0
    power: float = 1.0
    share: float = 0.0
    decay: str = "linear"
    start_divisor: float = 25.0
    end_divisor: float = 1e4
    patience: int = 10
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS and not is_user_code(self.kind):
            msg = f"schedule.kind '{self.kind}' is unknown; {nearest(self.kind, [*KINDS])} (or package.module:callable)"
            raise InputError(msg)
        check_arguments("schedule", self.kind, self.arguments)
        check_positive({"schedule.factor": self.factor})
        check_at_least(0, {"schedule.patience": self.patience, "schedule.share": self.share})
        milestones = {f"schedule.milestones[{i}]": place for i, place in enumerate(self.milestones)}
        check_at_least(0, milestones)
        check_at_most(MAX_SAMPLES, milestones)
        if list(self.milestones) != sorted(set(self.milestones)):
            msg = f"schedule.milestones must rise, not {list(self.milestones)}"
            raise InputError(msg)
        self._check_used()
        if self.kind in SCHEDULES:
            check_options(self.kind, self.options, prefix="schedule.")

    @property
    def options(self) -> dict[str, Any]:
        """What the schedule's own function takes, besides milestones and factor; none for a user's own."""
        names = [name for name in used_by(self.kind) if name not in MAY_BE_IDLE]
        return {name: getattr(self, name) for name in names if name != "patience" and (name != "share" or self.share)}

    def _check_used(self) -> None:
        """Refuse a setting that would silently do nothing."""
        for name in OPTIONS:
            if getattr(self, name) != getattr(Schedule, name) and name not in (*used_by(self.kind), *MAY_BE_IDLE):
                users = [kind for kind in KINDS if name in used_by(kind)]
                msg = f"schedule.{name} is of {', '.join(users)}; '{self.kind}' takes none"
                raise InputError(msg)


OPTIONS: Final = tuple(item.name for item in fields(Schedule) if item.name not in {"kind", "arguments"})


def used_by(kind: str) -> tuple[str, ...]:
    """Return the fields that a kind of schedule uses.

    >>> used_by("plateau"), used_by("cosine"), used_by("constant")
    (('factor', 'patience'), ('floor', 'period', 'period_factor'), ())
    """
    if kind == PLATEAU:
        return USED_BY_PLATEAU
    return tuple(options_of(kind)) if kind in SCHEDULES else ()
