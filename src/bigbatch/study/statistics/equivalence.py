"""Does a minibatch size match the reference? One-sided tests at the margin, over several sizes at once."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import TOP_1_ERROR, Measure
from bigbatch.study.statistics.conditions import check_alpha, check_margin
from bigbatch.study.statistics.costs import as_results, cost_summary, costs_of
from bigbatch.study.statistics.digits import digits_of
from bigbatch.study.statistics.holm import holm_adjusted
from bigbatch.study.statistics.lowest_seed import p_all_above
from bigbatch.study.statistics.possible import possible_range
from bigbatch.study.statistics.seeds import seeds_needed
from bigbatch.study.statistics.summary import Summary, summarise
from bigbatch.study.statistics.verdict import (
    CANNOT_TELL,
    MATCHES,
    Adjusted,
    Verdict,
    Words,
    kind_of,
    more_text,
    untested,
)
from bigbatch.study.statistics.welch import FEWEST_SEEDS, Difference, Welch

K = TypeVar("K", bound=Hashable)

NOISE_BAND_STDS: Final = 2


class _Rules(NamedTuple):
    measure: Measure
    margin: float
    alpha: float
    comparisons: int


class _Side(NamedTuple):
    """A minibatch size: the costs of its seeds, and how far the lowest of them lies above the reference's mean."""

    runs: Summary
    lowest: float


def compare(
    results: Mapping[K, Sequence[float]],
    reference: Sequence[float],
    *,
    measure: Measure = TOP_1_ERROR,
    margin: float | None = None,
    alpha: float = 0.05,
) -> dict[K, Verdict]:
    """Judge each minibatch size against the reference: matches, worse, or cannot tell.

    What follows is said of errors. Where higher is better, all of it holds mirrored: for the results' negatives.

    "matches": a one-sided Welch test rejects, at level alpha, that the error is higher by `margin` or more. If a second
    one rejects that it is lower by as much, the verdict says "within". A lower error is a match too, so the second test
    is not required: that would only waste seeds.

    "worse": it is not a match, and one of two tests says that the error is higher. The first is the upper side of the
    two-sided Welch test; the interval shows whether it is by more than `margin`. The second is `p_all_above`, for sizes
    at which training fails and the errors spread widely. It finds that every seed lies farther above the reference's
    mean than the reference's spread explains. Each has the level alpha / 2.

    "cannot tell": all else, with the seeds that Welch's tests would need.

    The p-values of each kind of test are adjusted over all sizes with two seeds or more, Welch's by Holm's method. So
    for normally distributed errors the probability of any false "matches" is at most about alpha. So is that of any
    false "within" and of any false "worse". (About: Welch's t is an approximation. At 5 % the worst simulated "matches"
    was 5.3 % with five seeds or more on each side, 5.9 % with three, and 8.0 % with two against ten.) The rates here
    are those of benchmarks/results/verdict_rates.md, which `benchmarks/verdict_rates.py` simulates.

    The table shows how often a size is wrongly called "worse". The size has the reference's mean, but its errors spread
    this many times as widely. The margin is too narrow for any match. Each number is the worst of one and six sizes,
    and of normal, log-normal and t(3) errors:

    ============  =====  =====  =====  =====  ======
    seeds a side  0.2    1      2      4      10
    ============  =====  =====  =====  =====  ======
    2             4.3 %  2.2 %  2.6 %  4.1 %  9.0 %
    3             5.1 %  1.9 %  2.6 %  5.3 %  13.5 %
    5             5.0 %  2.0 %  2.6 %  4.5 %  8.3 %
    10            4.5 %  2.3 %  2.5 %  2.7 %  2.5 %
    ============  =====  =====  =====  =====  ======

    A size is always "worse" if every seed lies at least this many standard deviations above the reference's mean. Half
    a stated margin counts as the standard deviation where that is more:

    ============  ======  =======  ========
    seeds a side  1 size  6 sizes  15 sizes
    ============  ======  =======  ========
    2             15.6    65.6     106.0
    3             3.4     9.2      13.6
    5             2.0     2.3      3.3
    10            2.0     2.0      2.0
    ============  ======  =======  ========

    An estimated margin, as by `noise_band`: "matches" is about the margin that is printed. A size that errs by the
    printed margin or more is called a match with probability at most alpha. The verdict is not about twice the *true*
    standard deviation. For an excess of exactly that, alpha = 0.05, one size and equal variances, the verdict is
    "matches" in this many cases (many: the limit):

    ==============  ==============  ================
    seeds a side    stated margin   estimated margin
    ==============  ==============  ================
    3               4.0 %           1.9 %
    5               4.7 %           5.6 %
    10              4.9 %           8.2 %
    many            5.0 %           12.2 %
    ==============  ==============  ================

    Three seeds against ten of the reference give 7.1 % (stated margin: 5.6 %). Where there is no difference, three
    seeds find the match in 51 % of the cases (stated margin: 58 %), five in 81 % (88 %), ten in 98 % (99.6 %). So state
    the margin where you can.

    Args:
        results: of every minibatch size to judge, one for each seed; not of the reference itself.
        reference: the reference's results.
        measure: what the results are: which way is better, which values are possible, how many digits are shown.
        margin: the largest difference that still counts as a match, in the metric's unit (percentage points for %);
            `noise_band(reference)` if None.
        alpha: the level of the tests, below 0.5.

    Raises:
        InputError: a size without values, a value that is not finite, a margin that is not positive, an alpha out of
            range, or scipy is missing. With too few seeds the verdict is "cannot tell".

    >>> verdicts = compare({512: [23.5, 23.6, 23.55], 32768: [27.3, 27.6, 27.8]}, [23.6, 23.5, 23.65], margin=0.3)
    >>> for minibatch_size, verdict in verdicts.items():
    ...     print(minibatch_size, verdict)
    512 matches: -0.03 ± 0.12, within 0.30
    32768 worse by 3.98 ± 0.40
    """
    check_alpha(alpha)
    if margin is not None:
        check_margin(margin, measure)
    trusted = cost_summary(summarise(reference, name="reference"), measure)
    sides = {size: _side(values, size, trusted, measure) for size, values in results.items()}
    reasons = {size: _untestable(side.runs, trusted, margin) for size, side in sides.items()}
    band = _band(trusted) if margin is None else margin
    tested = {size: side for size, side in sides.items() if reasons[size] is None}
    decided = _decide(tested, trusted, _Rules(measure, band or 0.0, alpha, len(tested)))
    return {size: decided[size] if reason is None else untested(reason, band) for size, reason in reasons.items()}


def _side(results: Sequence[float], size: Hashable, reference: Summary, measure: Measure) -> _Side:
    runs = cost_summary(summarise(results, name=f"results at {size}"), measure)
    return _Side(runs, min(costs_of(results, measure)) - reference.mean)


def noise_band(reference: Sequence[float]) -> float:
    """Return the margin that is used when none is stated: two sample standard deviations of the reference's results.

    Two single runs cannot show a smaller difference. `compare` describes what an estimated margin does to the tests.

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
    why = "has one seed" if reference.std is None else f"has {reference.count} seeds with the same result"
    return f"the reference {why}, which shows no noise band"


def _untestable(side: Summary, reference: Summary, margin: float | None) -> str | None:
    """Say why a size cannot be tested; None if it can."""
    for summary, whose in ((side, ""), (reference, " of the reference")):
        if summary.count < FEWEST_SEEDS:
            return f"at least {FEWEST_SEEDS} seeds{whose} are needed, {summary.count} given"
    return f"{_no_band(reference)}: state a margin" if margin is None and not _band(reference) else None


def _decide(sides: Mapping[K, _Side], reference: Summary, rules: _Rules) -> dict[K, Verdict]:
    """Test all sizes as one family."""
    tests = {size: Welch.of(side.runs, reference) for size, side in sides.items()}
    adjusted = zip(
        holm_adjusted([test.p_below(rules.margin) for test in tests.values()]),
        holm_adjusted([test.p_equivalent(rules.margin) for test in tests.values()]),
        holm_adjusted([test.p_different() for test in tests.values()]),
        _p_lowest(list(sides.values()), reference, rules.margin),
        strict=True,
    )
    return {
        size: _verdict(test, sides[size], reference, Adjusted(below, equivalent, welch, min(welch, 2 * lowest)), rules)
        for (size, test), (below, equivalent, welch, lowest) in zip(tests.items(), adjusted, strict=True)
    }


def _p_lowest(sides: Sequence[_Side], reference: Summary, margin: float) -> list[float]:
    """Return the p-values of the lowest seeds, for all sizes together."""
    spread = max(reference.std or 0.0, margin / NOISE_BAND_STDS)  # equal seeds can be chance: no spread is not shown
    counts = [side.runs.count for side in sides]
    return [p_all_above(side.lowest / spread, counts, reference.count) for side in sides]


def _verdict(test: Welch, side: _Side, reference: Summary, p_values: Adjusted, rules: _Rules) -> Verdict:
    kind = kind_of(test.difference, p_values, rules.alpha)
    costs = _possible(test.interval(1 - 2 * rules.alpha), reference, rules.measure)
    more_seeds = _more_seeds(test, side.runs, reference, rules) if kind == CANNOT_TELL else None
    words = Words(rules.measure, digits_of(rules.measure, reference))
    if kind == CANNOT_TELL:
        text = more_text(more_seeds)
    elif kind == MATCHES:
        text = words.of_match(costs, rules.margin, p_values, rules.alpha)
    else:
        text = words.of_worse(costs, side.lowest, p_values, rules.alpha)
    shown = as_results(costs, rules.measure)
    return Verdict(
        kind, shown, rules.margin, p_values.not_worse, p_values.equivalent, p_values.different, more_seeds, text
    )


def _possible(costs: Difference, reference: Summary, measure: Measure) -> Difference:
    """Cut the interval of a difference of costs to results that are possible."""
    ends = sorted(costs_of(possible_range(measure), measure))
    return costs.within(ends[0] - reference.mean, ends[1] - reference.mean)


def _more_seeds(test: Welch, side: Summary, reference: Summary, rules: _Rules) -> int | None:
    """Return how many more seeds are needed if the estimates are true; at least one, as there is no verdict yet."""
    needed = seeds_needed(
        side.std or 0.0,
        test.difference,
        rules.margin,
        reference_std=reference.std,
        alpha=rules.alpha,
        comparisons=rules.comparisons,
    )
    return None if needed is None else max(1, needed - min(side.count, reference.count))
