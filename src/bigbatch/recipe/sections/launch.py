"""The section `launch`; the result of a training does not depend on it."""

from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import check_at_least, check_choice

ON_NONFINITE: Final = ("stop", "skip")
MAX_SECONDS: Final = 1e9  # 30 years; a clock that counts nanoseconds overflows at ten times that


@dataclass(frozen=True)
class Launch:
    """How the processes are run.

    Attributes:
        timeout_seconds: how long the others wait for a process that does not answer, in seconds.
        max_restarts: how often the processes are started again after a fault. They go on from the last checkpoint.
        on_nonfinite: what all processes do when a loss or a gradient is NaN or infinite: "stop", or "skip" the update.
            It changes nothing before that, so a run that stopped may be resumed with "skip".

    Raises:
        InputError: a field is out of its range.
    """

    timeout_seconds: float = 120.0
    max_restarts: int = 0
    on_nonfinite: str = "stop"

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds <= MAX_SECONDS:
            msg = f"launch.timeout_seconds must be a number above 0 and at most 1e9, not {self.timeout_seconds}"
            raise InputError(msg)
        check_at_least(0, {"launch.max_restarts": self.max_restarts})
        check_choice("launch.on_nonfinite", self.on_nonfinite, ON_NONFINITE)
