"""The section `seeds`."""

from dataclasses import asdict, dataclass
from typing import Final

from bigbatch.errors import InputError

MAX_SEED: Final = 2**63 - 1


@dataclass(frozen=True)
class Seeds:
    """Separate seeds for parts of a run's randomness; -1 stands for the recipe's `seed`.

    Attributes:
        initialisation: the seed of the first weights.
        order: the seed of the order of samples in every epoch.
        augmentation: the seed of the augmentation, and of what else the workers draw, such as dropout.

    Raises:
        InputError: a seed is out of its range.
    """

    initialisation: int = -1
    order: int = -1
    augmentation: int = -1

    def __post_init__(self) -> None:
        for name, seed in asdict(self).items():
            if not -1 <= seed <= MAX_SEED:
                msg = f"seeds.{name} must be between 0 and {MAX_SEED}, or -1 for the recipe's seed, not {seed}"
                raise InputError(msg)
