"""Refuse values that are out of their bounds; the error names each as `section.field`."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bigbatch.errors import InputError, nearest

MAX_EPOCHS: Final = 10**9  # far beyond any training; numbers of iterations do not overflow yet
MAX_SAMPLES: Final = 2**53


def check_positive(values: Mapping[str, float]) -> None:
    """Refuse what is not finite and above 0.

    Args:
        values: each by its `section.field`.

    Raises:
        InputError: names the field and its value.

    >>> check_positive({"epochs": 1, "schedule.factor": 0.1})
    """
    _refuse(values, lambda value: not (math.isfinite(value) and value > 0), "a number above 0")


def check_at_least(least: float, values: Mapping[str, float]) -> None:
    """Refuse what is not finite or below `least`.

    Raises:
        InputError: names the field and its value.
    """
    _refuse(values, lambda value: not (math.isfinite(value) and value >= least), f"a number of at least {least}")


def check_below_one(values: Mapping[str, float]) -> None:
    """Refuse what is 1 or more.

    Raises:
        InputError: names the field and its value.
    """
    _refuse(values, lambda value: value >= 1, "below 1")


def check_at_most(most: float, values: Mapping[str, float]) -> None:
    """Refuse what is above `most`, and so would overflow or take all memory later.

    Raises:
        InputError: names the field and its value.
    """
    _refuse(values, lambda value: value > most, f"at most {most}")


def check_share(values: Mapping[str, float]) -> None:
    """Refuse what is not in [0, 1).

    Raises:
        InputError: names the field and its value.
    """
    _refuse(values, lambda value: not 0 <= value < 1, "a number of at least 0 and below 1")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is not known.

    Raises:
        InputError: names the nearest known word.
    """
    if value not in known:
        msg = f"{name} '{value}' is unknown; {nearest(value, list(known))}"
        raise InputError(msg)


def _refuse(values: Mapping[str, float], is_outside: Callable[[float], bool], bounds: str) -> None:
    for name, value in values.items():
        if is_outside(value):
            msg = f"{name} must be {bounds}, not {value}"
            raise InputError(msg)
