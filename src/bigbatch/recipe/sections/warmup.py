"""The section `warmup`."""

from dataclasses import dataclass

from bigbatch.recipe.sections.bounds import MAX_EPOCHS, check_at_least, check_at_most, check_choice
from bigbatch.rules.learning_rate import WARMUPS


@dataclass(frozen=True)
class Warmup:
    """How a minibatch above the reference's size starts (arXiv 1706.02677, section 2.2).

    Attributes:
        kind: "gradual", "constant" (both from the reference rate) or "none".
        epochs: how long.

    Raises:
        InputError: a field is out of its range.
    """

    kind: str = "gradual"
    epochs: float = 5.0

    def __post_init__(self) -> None:
        check_choice("warmup.kind", self.kind, WARMUPS)
        check_at_least(0, {"warmup.epochs": self.epochs})
        check_at_most(MAX_EPOCHS, {"warmup.epochs": self.epochs})
