"""Two means compared without assuming equal variances (Welch 1947, Biometrika 34: 28-35)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from bigbatch.errors import InputError
from bigbatch.study.statistics.conditions import check_confidence
from bigbatch.study.statistics.student import quantile, tail
from bigbatch.study.statistics.summary import Summary, summarise

FEWEST_SEEDS: Final = 2  # one run has no spread


@dataclass(frozen=True)
class Difference:
    """A difference of means, values minus reference, and its confidence interval.

    Attributes:
        mean: the difference of the two means, in the metric's unit; percentage points for one in %.
        low: the interval's lower end.
        high: the interval's upper end.
        confidence: how often such intervals hold the true difference.

    >>> print(Difference(0.03, -0.08, 0.14, 0.95))
    +0.03 ± 0.11
    >>> f"{Difference(60.0, -20.0, 140.0, 0.9).within(-8.0, 92.0):.1f}"
    '+60.0 (-8.0 to +92.0)'
    """

    mean: float
    low: float
    high: float
    confidence: float

    @property
    def half_width(self) -> float:
        """Half the interval's width: mean ± half_width, unless `within` has shortened one side."""
        return (self.high - self.low) / 2

    def within(self, lowest: float, highest: float) -> "Difference":
        """Cut the interval to possible values. It keeps the mean, and holds the true difference as often."""
        low, high = max(self.low, min(lowest, self.mean)), min(self.high, max(highest, self.mean))
        return replace(self, low=low, high=high)

    def __str__(self) -> str:
        return format(self, ".2f")

    def __format__(self, digits: str) -> str:
        return self._text(digits, sign="+")

    def unsigned(self, digits: str) -> str:
        """Return it as text without a plus, to stand behind "worse by"."""
        return self._text(digits, sign="-")

    def _text(self, digits: str, *, sign: str) -> str:
        mean, low, high = (f"{number:{sign}z{digits}}" for number in (self.mean, self.low, self.high))
        rounding = 1e-6 * min(1.0, abs(self.mean) + self.half_width)
        is_centred = math.isclose(self.high - self.mean, self.mean - self.low, rel_tol=1e-6, abs_tol=rounding)
        return f"{mean} ± {self.half_width:{digits}}" if is_centred else f"{mean} ({low} to {high})"


def difference(values: Sequence[float], reference: Sequence[float], *, confidence: float = 0.95) -> Difference:
    """Return the mean of `values` minus that of `reference` with Welch's interval: mean ± t(df) * standard error.

    If neither side has any spread, the interval is the difference itself.

    Args:
        values: results, one for each seed.
        reference: the same of the reference.
        confidence: between 0 and 1.

    Raises:
        InputError: fewer than two values on a side, one is not finite, `confidence` is out of range, or no scipy.

    >>> difference([6.0, 7.0, 8.0], [6.0, 6.5, 7.0], confidence=0.9).mean
    0.5
    """
    sides = summarise(values), summarise(reference, name="reference")
    fewest = min(side.count for side in sides)
    if fewest < FEWEST_SEEDS:
        msg = f"a difference needs at least {FEWEST_SEEDS} seeds on each side, {fewest} given; run more seeds"
        raise InputError(msg)
    return Welch.of(*sides).interval(confidence)


@dataclass(frozen=True)
class Welch:
    """The difference of two means, and the error of that difference: the basis of Welch's tests and interval.

    Attributes:
        difference: the difference of the two means.
        standard_error: sqrt(s1^2/n1 + s2^2/n2).
        degrees_of_freedom: Satterthwaite's; between min(n1, n2) - 1 and n1 + n2 - 2. Infinite without any spread.
    """

    difference: float
    standard_error: float
    degrees_of_freedom: float

    @classmethod
    def of(cls, values: Summary, reference: Summary) -> "Welch":
        """Compare two summaries of at least two runs each."""
        errors = [(side.std or 0.0) / math.sqrt(side.count) for side in (values, reference)]
        standard_error = math.hypot(*errors)
        return cls(
            values.mean - reference.mean,
            standard_error,
            _satterthwaite(errors[0] / standard_error, values.count, reference.count) if standard_error else math.inf,
        )

    def p_above(self, shift: float) -> float:
        """Return the one-sided p-value against "the true difference is `shift` or less".

        Without any spread it is 0 for a difference above `shift`, else 1.
        """
        excess = self.difference - shift
        if self.standard_error == 0:
            return 0.0 if excess > 0 else 1.0
        return tail(excess / self.standard_error, self.degrees_of_freedom)

    def p_below(self, shift: float) -> float:
        """Return the one-sided p-value against "the true difference is `shift` or more"."""
        return Welch(-self.difference, self.standard_error, self.degrees_of_freedom).p_above(-shift)

    def p_different(self) -> float:
        """Return the two-sided p-value against "there is no difference"."""
        return min(1.0, 2 * min(self.p_above(0), self.p_below(0)))

    def p_equivalent(self, margin: float) -> float:
        """Return the p-value of two one-sided tests against "the difference is `margin` or more, up or down".

        Source: Schuirmann 1987, J. Pharmacokinet. Biopharm. 15: 657-680.
        """
        return max(self.p_below(margin), self.p_above(-margin))

    def interval(self, confidence: float) -> Difference:
        """Return the two-sided confidence interval."""
        check_confidence(confidence)
        half = (
            quantile((1 + confidence) / 2, self.degrees_of_freedom) * self.standard_error
            if self.standard_error
            else 0.0
        )
        return Difference(self.difference, self.difference - half, self.difference + half, confidence)


def _satterthwaite(share: float, count: int, reference_count: int) -> float:
    """Return the degrees of freedom from the first side's share of the standard error. Shares cannot overflow."""
    return 1 / (share**4 / (count - 1) + (1 - share**2) ** 2 / (reference_count - 1))
