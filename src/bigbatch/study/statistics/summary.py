"""Mean and standard deviation over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from bigbatch.errors import InputError


@dataclass(frozen=True)
class Summary:
    """The results of several runs as the paper reports them: mean ± std (arXiv 1706.02677, section 5.1).

    Attributes:
        count: the number of runs.
        mean: their mean, in the metric's unit.
        std: their sample standard deviation (with count - 1); None for one run.

    >>> print(Summary(5, 23.74, 0.09))
    23.74 ± 0.09
    >>> f"{Summary(1, 6.8125, None):.3f}"
    '6.812 (one run)'
    """

    count: int
    mean: float
    std: float | None

    def __str__(self) -> str:
        return format(self, ".2f")

    def __format__(self, digits: str) -> str:
        return f"{self.mean:{digits}} (one run)" if self.std is None else f"{self.mean:{digits}} ± {self.std:{digits}}"


def summarise(values: Sequence[float], *, name: str = "values") -> Summary:
    """Return count, mean and sample standard deviation, computed exactly and then rounded once.

    So the order of the values does not matter, and equal values have a standard deviation of zero. A diverged run
    counts with the result that it recorded (an error of about 90 % for ten classes).

    Args:
        values: results, one for each run.
        name: of the values, for error messages.

    Raises:
        InputError: no values, or one is NaN or infinite.

    >>> summarise([6.0, 7.0, 8.0])
    Summary(count=3, mean=7.0, std=1.0)
    """
    numbers = [float(value) for value in values]
    if not numbers:
        msg = f"{name}: there are none; give at least one run's result"
        raise InputError(msg)
    for number in numbers:
        if not math.isfinite(number):
            msg = f"{name}: {number} is no result; give what the diverged run recorded, or leave the run out"
            raise InputError(msg)
    return Summary(len(numbers), mean(numbers), stdev(numbers) if len(numbers) > 1 else None)
