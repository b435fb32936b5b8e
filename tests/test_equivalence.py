"""Verdicts: their promises, and their error rates in simulations with fixed seeds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bigbatch.errors import InputError
from bigbatch.study.statistics import CANNOT_TELL, MATCHES, WORSE, compare, find_elbow, noise_band, seeds_needed
from simulations import ERRORS, MARGINS, NOISY, RUNS, at_least, at_most, log_normal, normal, simulated, student


def kinds(verdicts):
    return {key: verdict.kind for key, verdict in verdicts.items()}


def test_verdicts_read_in_a_line():
    reference = [6.0, 6.1, 6.2, 6.1]
    verdicts = compare(
        {
            "same": [6.1, 6.15, 6.2, 6.05],
            "worse": [6.9, 7.0, 7.1, 7.0],
            "better": [5.1, 5.0, 5.2, 5.1],
            "lower": [5.8, 6.2, 5.7, 6.1],
            "noisy": [6.0, 7.0, 5.0, 6.5],
            "once": [6.1],
        },
        reference,
        margin=0.3,
    )
    assert str(verdicts["same"]) == "matches: +0.03 ± 0.10, within 0.30"
    assert str(verdicts["worse"]) == "worse by 0.90 ± 0.11"
    assert str(verdicts["better"]) == "matches: better by 1.00 ± 0.11"
    assert str(verdicts["lower"]) == "matches: -0.15 ± 0.27, below +0.30"
    assert str(verdicts["noisy"]) == f"cannot tell: {verdicts['noisy'].more_seeds} more seeds"
    assert str(verdicts["once"]) == "cannot tell: at least 2 seeds are needed, 1 given"
    assert verdicts["noisy"].more_seeds > 10
    assert [verdicts[key].more_seeds for key in ("same", "worse", "better", "once")] == [None] * 4


def test_one_seed_of_the_reference_is_no_error():
    verdict = compare({512: [6.0, 6.1]}, [6.0])[512]
    assert str(verdict) == "cannot tell: at least 2 seeds of the reference are needed, 1 given"
    assert (verdict.margin, verdict.difference, verdict.p_equivalent, verdict.p_different) == (None,) * 4
    assert verdict.p_not_worse is None
    assert compare({512: [6.0]}, [6.0], margin=0.3)[512].margin == 0.3


def test_a_reference_without_spread_needs_a_stated_margin():
    verdict = compare({512: [6.0, 6.1]}, [6.0, 6.0])[512]
    assert verdict.kind == CANNOT_TELL
    assert "2 seeds with the same result, which shows no noise band: state a margin" in verdict.reason
    assert compare({512: [6.0, 6.0]}, [6.0, 6.0], margin=0.1)[512].kind == MATCHES


@given(ERRORS, ERRORS, MARGINS)
@settings(deadline=None)
def test_without_any_spread_the_verdict_is_exact(one, other, margin):
    verdict = compare({512: [one] * 2}, [other] * 2, margin=margin)[512]
    assert verdict.kind == (WORSE if one - other >= margin else MATCHES)
    assert {verdict.p_not_worse, verdict.p_equivalent, verdict.p_different} <= {0.0, 1.0}


def test_within_the_margin_matches_even_where_a_difference_shows():
    verdict = compare({512: [6.19, 6.2, 6.21]}, [5.99, 6.0, 6.01], margin=0.3)[512]
    assert str(verdict) == "matches: +0.20 ± 0.02, within 0.30"
    assert verdict.p_different < 0.001


def test_a_difference_at_the_margin_is_worse_once_it_shows():
    assert str(compare({512: [6.29, 6.3, 6.31]}, [5.99, 6.0, 6.01], margin=0.3)[512]) == "worse by 0.30 ± 0.02"


def test_the_default_margin_is_two_standard_deviations_of_the_reference():
    assert noise_band([6.0, 7.0, 8.0]) == 2.0
    assert compare({512: [6.0, 7.0]}, [6.0, 7.0, 8.0])[512].margin == 2.0
    for reference, why in (([6.0], "has one seed"), ([6.0, 6.0], "2 seeds with the same result")):
        with pytest.raises(InputError, match=f"{why}.*; run more seeds of it, or state a margin"):
            noise_band(reference)


@pytest.mark.parametrize(
    ("margin", "why"),
    [(0, "not above 0"), (-1.0, "not above 0"), (math.nan, "not above 0"), (math.inf, "lies between 0 and 100 %")],
)
def test_what_is_no_margin_is_refused(margin, why):
    with pytest.raises(InputError, match=why):
        compare({512: [6.0, 6.1]}, [6.0, 6.1], margin=margin)
    with pytest.raises(InputError, match="not above 0"):
        find_elbow({256: [6.0, 6.1], 512: [6.0, 6.1]}, reference=256, margin=margin)
    with pytest.raises(InputError, match="not above 0"):
        seeds_needed(1.0, 0.0, margin)


@pytest.mark.parametrize("alpha", [0, 0.5, 5, math.nan])
def test_what_is_no_level_is_refused(alpha):
    with pytest.raises(InputError, match=r"0\.05 is usual"):
        compare({512: [6.0, 6.1]}, [6.0, 6.1], alpha=alpha)


FAMILIES = st.dictionaries(st.sampled_from([512, 1024, 2048, 4096]), RUNS, min_size=1)


@given(FAMILIES, NOISY, MARGINS)
@settings(max_examples=30, deadline=None)
def test_kind_p_values_and_interval_say_the_same(family, reference, margin):
    """Adjusted p-values decide; the interval ends below the margin of a match, and lies above 0 where it is worse.

    Unless the lowest seed decides: then the verdict says so. No interval holds an error that is not possible.
    """
    for verdict in compare(family, reference, margin=margin).values():
        not_worse, different = verdict.p_not_worse <= 0.05, verdict.p_different <= 0.05
        better = different and verdict.difference.mean < 0
        assert (verdict.kind == MATCHES) == (not_worse or better)
        assert (verdict.kind == WORSE) == (different and verdict.difference.mean > 0 and not not_worse)
        assert (verdict.more_seeds is None) or (verdict.kind == CANNOT_TELL and verdict.more_seeds >= 1)
        if verdict.kind == MATCHES:
            assert verdict.difference.high < margin
        assert ("within" in verdict.reason) == (verdict.p_equivalent <= 0.05)
        if "within" in verdict.reason:
            assert verdict.difference.low > -margin
        if "better" in verdict.reason:
            assert verdict.difference.high < 0
        if verdict.kind == WORSE:
            assert verdict.difference.low > 0 or "every seed" in verdict.reason
        lowest, highest = (np.mean(reference) + end for end in (verdict.difference.low, verdict.difference.high))
        assert -1e-9 <= lowest <= highest <= 100 + 1e-9


FAR = {2: (15.6, 65.6, 106.0), 3: (3.4, 9.2, 13.6), 5: (2.0, 2.3, 3.3), 10: (2.0, 2.0, 2.0)}  # documented, in stds


@given(
    st.sampled_from(sorted(FAR)),
    st.sampled_from([1, 6, 15]),
    st.data(),
    st.none() | MARGINS,
)
@settings(max_examples=60, deadline=None)
def test_a_size_whose_every_seed_lies_far_above_the_reference_is_worse_however_they_spread(seeds, sizes, data, margin):
    reference = data.draw(st.lists(ERRORS, min_size=seeds, max_size=seeds).filter(lambda runs: len(set(runs)) > 1))
    std = max(np.std(reference, ddof=1), (margin or 0) / 2)
    far = np.mean(reference) + (FAR[seeds][[1, 6, 15].index(sizes)] + 0.06) * std
    spread = data.draw(st.lists(st.floats(0, 1000), min_size=seeds, max_size=seeds))
    family = {0: [far + above for above in spread]} | dict.fromkeys(range(1, sizes), reference)
    assert compare(family, reference, margin=margin)[0].kind == WORSE


@pytest.mark.parametrize(("seeds", "column"), [(2, 0), (3, 0), (3, 1), (5, 1), (5, 2)])
def test_nearer_than_far_a_spread_that_explodes_cannot_be_told(seeds, column):
    """So the documented distances are right."""
    reference = np.linspace(8.0, 9.0, seeds)
    near = reference.mean() + (FAR[seeds][column] - 0.1) * reference.std(ddof=1)
    family = {0: [near, 100.0, *[70.0] * (seeds - 2)]} | dict.fromkeys(range(1, [1, 6, 15][column]), [8.0] * seeds)
    assert compare(family, reference.tolist())[0].kind == CANNOT_TELL


def test_lost_sizes_of_the_committed_runs_are_worse():
    """These are plainly worse, but Welch's test alone cannot tell among so many sizes."""
    reference = [8.30, 8.09, 8.28, 8.36, 8.42]
    family = {2: [10.40, 11.17, 11.51, 11.01, 12.42], 4: [43.42, 79.33, 83.11], 8: [71.61, 24.59, 52.98]}
    family |= {size: [8.52, 8.41, 8.30] for size in range(100, 112)}
    verdicts = compare(family, reference)
    assert [kinds(verdicts)[size] for size in (2, 4, 8)] == [WORSE] * 3
    assert str(verdicts[4]) == "worse by 60.33: every seed by 35.13 or more"
    assert verdicts[8].difference.high == pytest.approx(49.73 - 8.29 + 39.9, abs=0.1)


@given(FAMILIES, NOISY, MARGINS, ERRORS, st.randoms())
@settings(max_examples=20, deadline=None)
def test_neither_a_constant_nor_the_seeds_order_changes_a_verdict(family, reference, margin, constant, random):
    def moved(runs):
        runs = [run + constant for run in runs]
        random.shuffle(runs)
        return runs

    before = compare(family, reference, margin=margin)
    after = compare({size: moved(runs) for size, runs in family.items()}, moved(reference), margin=margin)
    assert kinds(after) == kinds(before)
    for size, verdict in before.items():
        assert after[size].p_equivalent == pytest.approx(verdict.p_equivalent, rel=1e-6)
        assert after[size].difference.mean == pytest.approx(verdict.difference.mean, abs=1e-12)


@given(FAMILIES, NOISY, MARGINS, st.integers(-4, 4).map(lambda power: 2.0**power))
@settings(max_examples=20, deadline=None)
def test_scaling_errors_and_margin_scales_the_difference_and_keeps_the_verdict(family, reference, margin, scale):
    before = compare(family, reference, margin=margin)
    scaled = {size: [scale * run for run in runs] for size, runs in family.items()}
    after = compare(scaled, [scale * run for run in reference], margin=scale * margin)
    assert kinds(after) == kinds(before)
    for size, verdict in before.items():
        assert after[size].difference.mean == scale * verdict.difference.mean
        assert after[size].p_equivalent == pytest.approx(verdict.p_equivalent, rel=1e-9)
        assert after[size].more_seeds == verdict.more_seeds


@given(RUNS, NOISY, MARGINS, st.integers(0, 192).map(lambda n: n / 64))
@settings(max_examples=30, deadline=None)
def test_a_wider_margin_never_takes_a_match_away(runs, reference, margin, wider):
    narrow, wide = (compare({1: runs}, reference, margin=m)[1] for m in (margin, margin + wider))
    assert wide.p_not_worse <= narrow.p_not_worse
    assert wide.p_equivalent <= narrow.p_equivalent
    assert narrow.kind != MATCHES or wide.kind == MATCHES


# Error rates, counted


def count(kind, runs, **options):
    """Count the families in which any size gets this verdict."""
    return sum(kind in kinds(compare(errors, reference, **options)).values() for errors, reference in runs)


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize(
    ("num_seeds", "differences"), [(3, [0.2]), (5, [0.2]), (10, [0.2]), (5, [0.2] * 6), (5, [0.2, 0, 0])]
)
def test_a_true_difference_at_the_stated_margin_is_called_a_match_at_most_alpha_of_the_time(num_seeds, differences):
    runs = list(simulated(1, 1000, num_seeds, differences))
    if 0 in differences:  # a match of those is right
        false = sum(compare(errors, reference, margin=0.2)[0].kind == MATCHES for errors, reference in runs)
    else:
        false = count(MATCHES, runs, margin=0.2)
    assert at_most(false, len(runs), 0.05)


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize("num_seeds", [3, 5])
def test_a_true_difference_at_the_margin_for_the_better_is_called_within_at_most_alpha_of_the_time(num_seeds):
    """And nearly always a match: the control, as the test of equivalence would refuse a much lower error."""
    runs = [compare(errors, reference, margin=0.2)[0] for errors, reference in simulated(6, 1000, num_seeds, [-0.2])]
    assert at_most(sum("within" in verdict.reason for verdict in runs), len(runs), 0.05)
    assert at_least(sum(verdict.kind == MATCHES for verdict in runs), len(runs), 0.95)


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize("draw", [normal, log_normal, student])
@pytest.mark.parametrize(
    ("num_seeds", "std", "high"),
    [
        (2, 0.1, 0.022),
        (2, 0.4, 0.041),
        (3, 0.1, 0.019),
        (3, 0.4, 0.053),
        (5, 0.02, 0.05),
        (5, 0.4, 0.045),
        (10, 0.2, 0.025),
    ],
)
def test_no_difference_is_called_worse_as_seldom_as_documented_over_six_sizes(num_seeds, std, high, draw):
    """The margin is too narrow for any match, so that every false "worse" is counted."""
    runs = list(simulated(2, 400, num_seeds, [0.0] * 6, std=std, draw=draw))
    verdicts = [compare(errors, reference, margin=1e-6) for errors, reference in runs]
    assert at_most(sum(WORSE in kinds(family).values() for family in verdicts), len(runs), high)
    better = sum(any(v.p_different <= 0.05 and v.difference.mean < 0 for v in f.values()) for f in verdicts)
    assert draw is log_normal or at_most(better, len(runs), 0.04)  # a skewed error has low means more often


@pytest.mark.usefixtures("no_planning")
def test_holm_finds_more_than_bonferroni_would():
    """Of two clear losses the second one is tested at alpha, not alpha / 2: the control against too strict a test."""
    losses = [[6.30, 6.40, 6.35], [6.08, 6.13, 6.18]]
    verdicts = compare(dict(enumerate(losses)), [6.0, 6.05, 6.02], margin=0.01)
    assert kinds(verdicts) == {0: WORSE, 1: WORSE}
    assert verdicts[1].p_different == pytest.approx(
        stats.ttest_ind(losses[1], [6.0, 6.05, 6.02], equal_var=False).pvalue
    )
    assert 2 * verdicts[1].p_different > 0.05


@pytest.mark.usefixtures("no_planning")
@pytest.mark.parametrize(("num_seeds", "low", "high"), [(3, 0.012, 0.023), (5, 0.05, 0.062), (10, 0.075, 0.089)])
def test_what_an_estimated_margin_does_is_as_documented(num_seeds, low, high):
    """The true difference is twice the true std. For the printed margin the level holds, wherever it came from."""
    runs = list(simulated(3, 2000, num_seeds, [0.2]))
    verdicts = [compare(errors, reference)[0] for errors, reference in runs]
    matches = [verdict for verdict in verdicts if verdict.kind == MATCHES]
    assert at_least(len(matches), len(runs), low)
    assert at_most(len(matches), len(runs), high)
    assert at_most(sum(verdict.margin <= 0.2 for verdict in matches), len(runs), 0.05)
