"""A configuration: what the runs over several seeds have in common."""

from typing import NamedTuple


class Configuration(NamedTuple):
    """A recipe or a variant of it, at one minibatch size.

    Attributes:
        variant: the variant's name; in a report, the label of its series.
        minibatch_size: samples per update (kn).

    >>> str(Configuration("unscaled", 512))
    'unscaled at 512'
    """

    variant: str
    minibatch_size: int

    def __str__(self) -> str:
        return f"{self.variant} at {self.minibatch_size}"
