"""How a recipe is run and saved on the machines at hand: sections of a recipe that its result does not depend on."""

import math
from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError, nearest

ON_NONFINITE: Final = ("stop", "skip")
MAX_SECONDS: Final = 1e9  # 30 years; a clock that counts nanoseconds overflows at ten times that


@dataclass(frozen=True)
class Launch:
    """How the processes are run.

    Attributes:
        timeout_seconds: after which a process that does not answer is given up.
        max_restarts: how often the processes are started again after a fault, to go on from the last checkpoint.
        on_nonfinite: what all processes do at an iteration whose loss or gradients are NaN or infinite: "stop", or
            "skip" its update. Until there is one, this changes nothing; so a run that stopped may be resumed with it.

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
        if self.max_restarts < 0:
            msg = f"launch.max_restarts must be a number of at least 0, not {self.max_restarts}"
            raise InputError(msg)
        if self.on_nonfinite not in ON_NONFINITE:
            msg = f"launch.on_nonfinite '{self.on_nonfinite}' is unknown; {nearest(self.on_nonfinite, [*ON_NONFINITE])}"
            raise InputError(msg)


@dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are saved, and which are kept. Whichever is due first counts; 0 means never for that reason.

    Attributes:
        every_epochs: save after so many epochs, and after the last.
        every_iterations: save after so many iterations, also within an epoch.
        every_seconds: save after so many seconds, also within an epoch.
        keep: the newest so many stay, and the best.

    Raises:
        InputError: a field is out of its range.
    """

    every_epochs: int = 1
    every_iterations: int = 0
    every_seconds: float = 600.0
    keep: int = 2

    def __post_init__(self) -> None:
        for name, least in {"every_epochs": 0, "every_iterations": 0, "every_seconds": 0, "keep": 1}.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                msg = f"checkpoints.{name} must be a number of at least {least}, not {value}"
                raise InputError(msg)
