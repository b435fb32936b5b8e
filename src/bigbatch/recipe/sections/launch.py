"""The section `launch`; the result of a training does not depend on it."""

from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import check_at_least, check_choice
from bigbatch.user_code import is_user_code

ON_NONFINITE: Final = ("stop", "skip")
OBSERVERS: Final = ("tensorboard", "wandb", "mlflow", "trackio")
MAX_SECONDS: Final = 1e9  # 30 years; a clock that counts nanoseconds overflows at ten times that


@dataclass(frozen=True)
class Launch:
    """How the processes are run.

    Attributes:
        timeout_seconds: how long the others wait for a process that does not answer, in seconds.
        max_restarts: how often the processes are started again after a fault. They go on from the last checkpoint.
        on_nonfinite: what all processes do when a loss or a gradient is NaN or infinite: "stop", or "skip" the update.
            It changes nothing before that, so a run that stopped may be resumed with "skip".
        observers: what gets every line of metrics.jsonl: "tensorboard", "wandb", "mlflow", "trackio", or a function of
            yours as package.module:function. Each has a process of its own (docs/trackers.md).
        hooks: functions of yours, as package.module:function, called by every process before and after each epoch and
            step. A hook may look at everything and change nothing; `bigbatch verify` checks that.

    Raises:
        InputError: a field is out of its range.
    """

    timeout_seconds: float = 120.0
    max_restarts: int = 0
    on_nonfinite: str = "stop"
    observers: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds <= MAX_SECONDS:
            msg = f"launch.timeout_seconds must be a number above 0 and at most 1e9, not {self.timeout_seconds}"
            raise InputError(msg)
        check_at_least(0, {"launch.max_restarts": self.max_restarts})
        check_choice("launch.on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        for name in self.observers:
            if not is_user_code(name):
                check_choice("launch.observers", name, OBSERVERS)
        for name in self.hooks:
            if not is_user_code(name):
                msg = f"launch.hooks: '{name}' is not of the form package.module:callable"
                raise InputError(msg)
