"""Does a minibatch size match the reference? One-sided tests at the margin, over several sizes at once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from bigbatch.errors import InputError
from bigbatch.study.statistics.conditions import check_alpha, check_margin
from bigbatch.study.statistics.holm import holm_adjusted
from bigbatch.study.statistics.seeds import seeds_needed
from bigbatch.study.statistics.summary import Summary, summarise
from bigbatch.study.statistics.verdict import CANNOT_TELL, Adjusted, Verdict, kind_of, more_text, text_of, untested
from bigbatch.study.statistics.welch import FEWEST_SEEDS, Welch

K = TypeVar("K", bound=Hashable)

NOISE_BAND_STDS: Final = 2


class _Rules(NamedTuple):
    margin: float
    alpha: float
    comparisons: int


def compare(
    errors: Mapping[K, Sequence[float]], reference: Sequence[float], *, margin: float | None = None, alpha: float = 0.05
) -> dict[K, Verdict]:
    """Judge each minibatch size against the reference: matches, worse, or cannot tell.

    "matches": a one-sided Welch test rejects, at level alpha, that the error is higher by `margin` or more. If the
    other of two one-sided tests also rejects that it is lower by as much, the verdict says "within"; a lower error is a
    match all the same, so that asking for both would only waste seeds. "worse": it is not a match, and the two-sided
    Welch test says that the error is higher; by more than `margin` or not, the interval shows. Else "cannot tell", with
    the seeds it would take. The p-values of each kind of test are Holm-adjusted over all sizes with two seeds or more,
    so that for normally distributed errors the probability of any false "matches" is at most about alpha, and so is
    that of any false "within" and of any false "worse". (About: Welch's t is an approximation. At 5 % the worst
    simulated was 5.2 % with five seeds or more on each side, 5.9 % with three, and 7.9 % with two against ten.)

    What that means for a margin that is estimated, as `noise_band` does: "matches" is about the margin that is printed,
    and a size that errs by the printed margin or more is called a match with probability at most alpha, wherever the
    margin came from. It is not about twice the *true* standard deviation. For an excess of exactly that much,
    alpha = 0.05, one size and equal variances, "matches" comes out at (simulated a million times; many: the limit):

    ==============  ==============  ================
    seeds a side    stated margin   estimated margin
    ==============  ==============  ================
    3               4.0 %           1.9 %
    5               4.6 %           5.6 %
    10              4.9 %           8.2 %
    many            5.0 %           12.2 %
    ==============  ==============  ================

    Three seeds against ten of the reference give 7.1 % (stated margin: 5.6 %). Where there is no difference, three
    seeds find the match in 51 % of the cases (stated margin: 58 %), five in 81 % (88 %), ten in 98 % (99.6 %). So state
    the margin where you can.

    Args:
        errors: validation errors, %, one for each seed, of every minibatch size to judge; not of the reference itself.
        reference: validation errors of the reference.
        margin: the largest difference that still counts as a match, percentage points; `noise_band(reference)` if None.
        alpha: the level of the tests, below 0.5.

    Raises:
        InputError: a size without values, a value that is not finite, a margin that is not positive, an alpha out of
            range, or scipy is missing. Too few seeds are no error but "cannot tell".

    >>> verdicts = compare({512: [23.5, 23.6, 23.55], 32768: [27.3, 27.6, 27.8]}, [23.6, 23.5, 23.65], margin=0.3)
    >>> for minibatch_size, verdict in verdicts.items():
    ...     print(minibatch_size, verdict)
    512 matches: -0.03 ± 0.12, within 0.30
    32768 worse by 3.98 ± 0.40
    """
    check_alpha(alpha)
    if margin is not None:
        check_margin(margin)
    trusted = summarise(reference, name="reference")
    sides = {size: summarise(values, name=f"errors at {size}") for size, values in errors.items()}
    reasons = {size: _untestable(side, trusted, margin) for size, side in sides.items()}
    band = _band(trusted) if margin is None else margin
    tested = {size: side for size, side in sides.items() if reasons[size] is None}
    decided = _decide(tested, trusted, _Rules(band or 0.0, alpha, len(tested)))
    return {size: decided[size] if reason is None else untested(reason, band) for size, reason in reasons.items()}


def noise_band(reference: Sequence[float]) -> float:
    """Return the margin that is used when none is stated: two sample standard deviations of the reference's errors.

    A difference that small cannot be seen in two single runs. `compare` says what estimating it does to the tests.

    Raises:
        InputError: fewer than two values, all of them equal, or one that is not finite.

    >>> noise_band([6.0, 7.0, 8.0])
    2.0
    """
    summary = summarise(reference, name="reference")
    band = _band(summary)
    if not band:
        msg = f"{_no_band(summary)}; run more seeds of it, or state a margin"
        raise InputError(msg)
    return band


def _band(reference: Summary) -> float | None:
    return None if reference.std is None else NOISE_BAND_STDS * reference.std


def _no_band(reference: Summary) -> str:
    why = "has one seed" if reference.std is None else f"has {reference.count} seeds with the same error"
    return f"the reference {why}, which shows no noise band"


def _untestable(side: Summary, reference: Summary, margin: float | None) -> str | None:
    """Say why nothing can be tested, if so."""
    for summary, whose in ((side, ""), (reference, " of the reference")):
        if summary.count < FEWEST_SEEDS:
            return f"at least {FEWEST_SEEDS} seeds{whose} are needed, {summary.count} given"
    return f"{_no_band(reference)}: state a margin" if margin is None and not _band(reference) else None


def _decide(sides: Mapping[K, Summary], reference: Summary, rules: _Rules) -> dict[K, Verdict]:
    """Test all sizes as one family."""
    tests = {size: Welch.of(side, reference) for size, side in sides.items()}
    adjusted = zip(
        holm_adjusted([test.p_below(rules.margin) for test in tests.values()]),
        holm_adjusted([test.p_equivalent(rules.margin) for test in tests.values()]),
        holm_adjusted([test.p_different() for test in tests.values()]),
        strict=True,
    )
    return {
        size: _verdict(test, (sides[size], reference), Adjusted(*p_values), rules)
        for (size, test), p_values in zip(tests.items(), adjusted, strict=True)
    }


def _verdict(test: Welch, sides: tuple[Summary, Summary], p_values: Adjusted, rules: _Rules) -> Verdict:
    kind = kind_of(test.difference, p_values, rules.alpha)
    shown = test.interval(1 - 2 * rules.alpha)
    more_seeds = _more_seeds(test, sides, rules) if kind == CANNOT_TELL else None
    text = more_text(more_seeds) if kind == CANNOT_TELL else text_of(kind, shown, rules.margin, p_values, rules.alpha)
    return Verdict(kind, shown, rules.margin, *p_values, more_seeds, text)


def _more_seeds(test: Welch, sides: tuple[Summary, Summary], rules: _Rules) -> int | None:
    """Take the estimates at their word; at least one more, for those there are have not settled it."""
    needed = seeds_needed(
        sides[0].std or 0.0,
        test.difference,
        rules.margin,
        reference_std=sides[1].std,
        alpha=rules.alpha,
        comparisons=rules.comparisons,
    )
    return None if needed is None else max(1, needed - min(side.count for side in sides))
