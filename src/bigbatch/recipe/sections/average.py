"""The section `average`."""

from dataclasses import dataclass

from bigbatch.recipe.sections.bounds import check_share


@dataclass(frozen=True)
class Average:
    """An exponential average of the weights, for evaluation: `a' = decay * a + (1 - decay) * w` after every update.

    Attributes:
        decay: what the average keeps of itself in an update at the reference's size (rho). kappa times that size keeps
            rho^kappa (arXiv 2307.13813). 0 keeps no average.

    Raises:
        InputError: decay is out of its range.
    """

    decay: float = 0.0

    def __post_init__(self) -> None:
        check_share({"average.decay": self.decay})
