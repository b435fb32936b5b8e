"""The section `warmup`."""

from dataclasses import dataclass

from bigbatch.recipe.sections.bounds import check_choice
from bigbatch.recipe.sections.duration import Duration, one_duration
from bigbatch.rules.learning_rate import WARMUPS


@dataclass(frozen=True)
class Warmup:
    """How a minibatch above the reference's size starts (arXiv 1706.02677, section 2.2).

    Attributes:
        kind: "gradual" (from the reference's rate, by a constant amount), "constant" (at the reference's rate) or
            "none".
        epochs: how long it is, in epochs.
        iterations: how long it is, in iterations of the reference; it takes the place of `epochs`.
        samples: how long it is, in samples; it takes the place of `epochs`.

    Raises:
        InputError: a field is out of its range.
    """

    kind: str = "gradual"
    epochs: float = 5.0
    iterations: float = 0.0
    samples: float = 0.0

    def __post_init__(self) -> None:
        check_choice("warmup.kind", self.kind, WARMUPS)
        _ = self.duration  # which refuses wrong ones

    @property
    def duration(self) -> Duration:
        """How long it is; the default of `epochs` gives way to another unit."""
        is_default = self.epochs == Warmup.epochs and bool(self.iterations or self.samples)
        epochs = 0 if is_default else self.epochs
        return one_duration(
            {"warmup.epochs": epochs, "warmup.iterations": self.iterations, "warmup.samples": self.samples}
        )
