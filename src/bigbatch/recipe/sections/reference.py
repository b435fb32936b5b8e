"""The section `reference`."""

from dataclasses import dataclass

from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most, check_positive


@dataclass(frozen=True)
class Reference:
    """The small-minibatch recipe that is trusted.

    Attributes:
        minibatch_size: its samples per update.
        learning_rate: its learning rate (eta).
        largest_matching: the largest minibatch size known to keep the accuracy; 0 if it was not measured.

    Raises:
        InputError: a field is out of its range.
    """

    minibatch_size: int
    learning_rate: float
    largest_matching: int = 0

    def __post_init__(self) -> None:
        size = {"reference.minibatch_size": self.minibatch_size}
        check_positive({**size, "reference.learning_rate": self.learning_rate})
        check_at_least(0, {"reference.largest_matching": self.largest_matching})
        check_at_most(MAX_SAMPLES, size)
