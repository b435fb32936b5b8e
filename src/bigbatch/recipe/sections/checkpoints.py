"""The section `checkpoints`; the result of a training does not depend on it."""

from dataclasses import dataclass

from bigbatch.recipe.sections.bounds import check_at_least


@dataclass(frozen=True)
class Checkpoints:
    """When checkpoints are saved, and which are kept. The first reason that is due counts; 0 switches a reason off.

    Attributes:
        every_epochs: epochs between two of them; one is saved after the last epoch too.
        every_iterations: iterations between two of them, also within an epoch.
        every_seconds: seconds between two of them, also within an epoch.
        keep: how many of the newest stay, besides the best.

    Raises:
        InputError: a field is out of its range.
    """

    every_epochs: int = 1
    every_iterations: int = 0
    every_seconds: float = 600.0
    keep: int = 2

    def __post_init__(self) -> None:
        names = ("every_epochs", "every_iterations", "every_seconds")
        check_at_least(0, {f"checkpoints.{name}": getattr(self, name) for name in names})
        check_at_least(1, {"checkpoints.keep": self.keep})
