"""The section `scaling`."""

from dataclasses import dataclass
from typing import Final

from bigbatch.recipe.sections.bounds import check_choice
from bigbatch.rules.scaling import SCALING_RULES

SQUARE_ROOT: Final = "square-root"
KEEP, TIMESCALE = "keep", "timescale"
WEIGHT_DECAY_RULES: Final = (KEEP, TIMESCALE)


@dataclass(frozen=True)
class Scaling:
    """How the learning rate and the weight decay follow the minibatch size.

    Attributes:
        rule: how the rate follows the size: "linear", "square-root", "none" or "adascale" (by the measured gradients).
            "square-root" also scales betas and epsilon of adam and adamw.
        weight_decay: "keep" keeps the coefficient lambda, and "timescale" keeps how many epochs a weight takes to
            decay.

    Raises:
        InputError: a rule is unknown.
    """

    rule: str = "linear"
    weight_decay: str = KEEP

    def __post_init__(self) -> None:
        check_choice("scaling.rule", self.rule, tuple(SCALING_RULES))
        check_choice("scaling.weight_decay", self.weight_decay, WEIGHT_DECAY_RULES)
