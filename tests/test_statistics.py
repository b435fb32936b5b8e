"""Means, differences and comparisons over seeds: closed forms and scipy."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bigbatch.errors import InputError
from bigbatch.study.statistics import (
    compare,
    difference,
    find_elbow,
    holm_adjusted,
    summarise,
)
from bigbatch.study.statistics.welch import Welch
from simulations import ERRORS, NOISY, RUNS


@given(st.lists(ERRORS, min_size=1, max_size=8), st.randoms())
@settings(deadline=None)
def test_a_summary_is_mean_and_sample_std_in_any_order(values, random):
    summary = summarise(values)
    assert summary.count == len(values)
    assert summary.mean == pytest.approx(np.mean(values), rel=1e-12)
    shuffled = values.copy()
    random.shuffle(shuffled)
    assert summarise(shuffled) == summary
    if len(values) > 1:
        assert summary.std == pytest.approx(np.std(values, ddof=1), rel=1e-9, abs=1e-12)


@given(st.floats(0, 100), st.integers(2, 12))
@settings(deadline=None)
def test_equal_values_have_no_spread_to_the_bit(value, count):
    summary = summarise([value] * count)
    assert (summary.mean, summary.std) == (value, 0.0)


def test_summaries_read_as_the_paper_writes_them():
    assert str(summarise([6.69, 6.81, 6.93])) == "6.81 ± 0.12"
    assert str(summarise(np.array([6.8125], dtype=np.float32))) == "6.81 (one run)"
    assert summarise([6.81]).std is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_by_name(bad):
    with pytest.raises(InputError, match=rf"^values: {bad} is no result"):
        summarise([6.0, bad])
    with pytest.raises(InputError, match=r"^results at 512: "):
        compare({512: [6.0, bad]}, [6.0, 6.1])
    with pytest.raises(InputError, match=r"^reference: "):
        compare({512: [6.0, 6.1]}, [bad, 6.0])
    with pytest.raises(InputError, match=r"^results at 512: "):
        find_elbow({256: [6.0, 6.1], 512: [bad]}, reference=256)


def test_no_values_are_refused():
    with pytest.raises(InputError, match="at least one run"):
        summarise([])
    with pytest.raises(InputError, match="results at 512"):
        compare({512: []}, [6.0, 6.1])
    assert compare({}, [6.0, 6.1]) == {}


@given(NOISY, NOISY, st.floats(0.5, 0.999))
@settings(max_examples=50, deadline=None)
def test_the_interval_is_scipys_welch_interval(values, reference, confidence):
    ours = difference(values, reference, confidence=confidence)
    theirs = stats.ttest_ind(values, reference, equal_var=False).confidence_interval(confidence)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9, abs=1e-9)
    assert ours.half_width == pytest.approx((theirs.high - theirs.low) / 2, rel=1e-9)


@given(NOISY, NOISY, ERRORS.filter(bool))
@settings(max_examples=50, deadline=None)
def test_p_values_are_scipys_and_tost_is_two_shifted_one_sided_tests(values, reference, margin):
    test = Welch.of(summarise(values), summarise(reference))
    assert test.p_different() == pytest.approx(stats.ttest_ind(values, reference, equal_var=False).pvalue, rel=1e-9)
    shifted = np.array(reference)
    below = stats.ttest_ind(values, shifted + margin, equal_var=False, alternative="less").pvalue
    above = stats.ttest_ind(values, shifted - margin, equal_var=False, alternative="greater").pvalue
    assert test.p_equivalent(margin) == pytest.approx(max(below, above), rel=1e-9)


@given(RUNS, RUNS)
@settings(deadline=None)
def test_degrees_of_freedom_lie_between_the_smaller_side_and_both(values, reference):
    test = Welch.of(summarise(values), summarise(reference))
    fewest, both = min(len(values), len(reference)) - 1, len(values) + len(reference) - 2
    assert math.isinf(test.degrees_of_freedom) or fewest * (1 - 1e-12) <= test.degrees_of_freedom <= both * (1 + 1e-12)


def test_a_side_without_spread_leaves_the_other_sides_degrees_of_freedom():
    assert Welch.of(summarise([6.0, 7.0, 8.0]), summarise([5.0] * 9)).degrees_of_freedom == 2
    assert Welch.of(summarise([1e-200, 3e-200]), summarise([0.0, 0.0])).degrees_of_freedom == 1


@given(ERRORS, ERRORS)
@settings(deadline=None)
def test_without_any_spread_the_difference_is_exact(one, other):
    interval = difference([one] * 3, [other] * 2)
    assert (interval.low, interval.mean, interval.high) == (one - other, one - other, one - other)


def test_differences_refuse_one_seed_and_what_is_no_confidence():
    with pytest.raises(InputError, match="at least 2 seeds on each side, 1 given"):
        difference([6.0], [6.0, 6.1])
    for confidence in (0, 1, 95, math.nan):
        with pytest.raises(InputError, match="not between 0 and 1"):
            difference([6.0, 6.1], [6.0, 6.1], confidence=confidence)


def rejected_one_after_another(p_values, alpha):
    """Holm's procedure as he wrote it: compare the smallest with alpha / m, the next with alpha / (m - 1), stop."""
    rejected = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] * (len(p_values) - rank) > alpha:
            break
        rejected.add(index)
    return rejected


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.49))
@settings(deadline=None)
def test_adjusted_p_values_reject_what_holms_procedure_rejects(p_values, alpha):
    adjusted = holm_adjusted(p_values)
    assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected_one_after_another(p_values, alpha)
    assert all(p <= q <= min(1, len(p_values) * p) for p, q in zip(p_values, adjusted, strict=True))


def test_without_scipy_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(InputError, match=r"^comparing runs needs scipy: pip install 'bigbatch\[stats\]'$"):
        compare({512: [6.0, 6.1]}, [6.0, 6.1])
    assert summarise([6.0, 7.0]).mean == 6.5
    with pytest.raises(InputError, match="needs scipy"):
        find_elbow({256: [6.0, 6.1], 512: [9.0, 9.1]}, reference=256)
