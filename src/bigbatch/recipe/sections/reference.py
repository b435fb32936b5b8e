"""The section `reference`."""

from dataclasses import dataclass

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most, check_positive, check_share
from bigbatch.recipe.sections.duration import Duration, one_duration


@dataclass(frozen=True)
class Reference:
    """The small-minibatch recipe that is trusted.

    Attributes:
        minibatch_size: samples per update.
        learning_rate: the rate at that size (eta).
        largest_matching: the largest minibatch size that is known to keep the accuracy, in samples; 0 if nobody knows.
        warmup_epochs: how long its own warmup is, in epochs; 0 for none. It has this warmup at its own size too.
        warmup_iterations: the same, in its iterations.
        warmup_samples: the same, in samples.
        warmup_start: where its own warmup starts, as a share of its rate. From there the rate rises by a constant
            amount.

    Raises:
        InputError: a field is out of its range.
    """

    minibatch_size: int
    learning_rate: float
    largest_matching: int = 0
    warmup_epochs: float = 0.0
    warmup_iterations: float = 0.0
    warmup_samples: float = 0.0
    warmup_start: float = 0.0

    def __post_init__(self) -> None:
        size = {"reference.minibatch_size": self.minibatch_size}
        check_positive({**size, "reference.learning_rate": self.learning_rate})
        check_at_least(0, {"reference.largest_matching": self.largest_matching})
        check_at_most(MAX_SAMPLES, size)
        check_share({"reference.warmup_start": self.warmup_start})
        if self.warmup_start and not self.warmup.amount:
            msg = "reference.warmup_start needs reference.warmup_epochs, _iterations or _samples: how long it is"
            raise InputError(msg)

    @property
    def warmup(self) -> Duration:
        """How long its own warmup is."""
        return one_duration(
            {
                "reference.warmup_epochs": self.warmup_epochs,
                "reference.warmup_iterations": self.warmup_iterations,
                "reference.warmup_samples": self.warmup_samples,
            }
        )
