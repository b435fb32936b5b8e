"""The section `growth`."""

from dataclasses import dataclass
from typing import Final

from bigbatch.recipe.sections.bounds import check_at_least, check_choice, check_positive

NO_GROWTH, BY_SCHEDULE, BY_NOISE_SCALE = "none", "schedule", "noise-scale"
GROWTHS: Final = (NO_GROWTH, BY_SCHEDULE, BY_NOISE_SCALE)


@dataclass(frozen=True)
class Growth:
    """How the minibatch grows from `start` to the recipe's `minibatch_size`.

    Attributes:
        kind: "none", "schedule" or "noise-scale". By "schedule" the minibatch grows where the schedule would lower the
            rate, and the rate falls by so much less. By "noise-scale" it grows with the measured noise scale, and the
            rate with it by the scaling rule. It stays as it is while no signal can be told from the noise.
        start: samples per update in the first epoch; 0 is the reference's size.
        noise_fraction: by "noise-scale", how large the minibatch may be, as a share of the noise scale.

    Raises:
        InputError: a field is out of its range.
    """

    kind: str = NO_GROWTH
    start: int = 0
    noise_fraction: float = 1.0

    def __post_init__(self) -> None:
        check_choice("growth.kind", self.kind, GROWTHS)
        check_at_least(0, {"growth.start": self.start})
        check_positive({"growth.noise_fraction": self.noise_fraction})
