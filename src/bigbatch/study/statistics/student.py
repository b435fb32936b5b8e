"""Student's t distribution, and scipy's other special functions, imported only when they are needed."""

from typing import Any

from bigbatch.errors import InputError


def special_functions() -> Any:  # noqa: ANN401 - scipy has no types
    """Import scipy's special functions, which are a hundred times faster here than `scipy.stats`.

    Raises:
        InputError: scipy is not installed.
    """
    try:
        from scipy import special
    except ImportError as error:
        msg = "comparing runs needs scipy: pip install 'bigbatch[stats]'"
        raise InputError(msg) from error
    return special


def tail(t: float, degrees_of_freedom: float) -> float:
    """Return P(T >= t).

    >>> tail(0.0, 4.0)
    0.5
    """
    return float(special_functions().stdtr(degrees_of_freedom, -t))


def quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return the t with P(T <= t) = probability.

    >>> round(quantile(0.975, 4.0), 3)
    2.776
    """
    return float(special_functions().stdtrit(degrees_of_freedom, probability))
