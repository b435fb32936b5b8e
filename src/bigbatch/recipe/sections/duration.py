"""A duration that a section gives in one of three units."""

from collections.abc import Mapping
from typing import NamedTuple

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import MAX_EPOCHS, MAX_SAMPLES, check_at_least, check_at_most
from bigbatch.rules.duration import EPOCHS, ITERATIONS


class Duration(NamedTuple):
    """How long something takes: an amount of a unit in `rules.duration.UNITS`; iterations are the reference's."""

    amount: float
    unit: str

    def __str__(self) -> str:
        """Say it.

        >>> str(Duration(5.0, "epochs")), str(Duration(500, "iterations"))
        ('5 epochs', '500 iterations of the reference')
        """
        return f"{self.amount:.10g} {self.unit}{' of the reference' if self.unit == ITERATIONS else ''}"


def one_duration(fields: Mapping[str, float]) -> Duration:
    """Return the duration that fields give, of which at most one is not 0; 0 epochs if all are.

    Args:
        fields: by `section.field`, whose name ends in its unit.

    Raises:
        InputError: two are given, or a value is out of its bounds.
    """
    check_at_least(0, fields)
    for name, value in fields.items():
        check_at_most(MAX_EPOCHS if name.endswith(EPOCHS) else MAX_SAMPLES, {name: value})
    given = {name: value for name, value in fields.items() if value}
    if len(given) > 1:
        msg = f"{' and '.join(given)} are given: one of them says how long it is; leave the others out, or at 0"
        raise InputError(msg)
    for name, value in given.items():
        return Duration(value, name.rpartition(".")[2].rpartition("_")[2])
    return Duration(0, EPOCHS)
