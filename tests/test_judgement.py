"""All points judged at once, with and without diverged runs."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.study.statistics import Outcomes, compare, find_elbow, judge, noise_band

REFERENCE = ("recipe", 16)
TRUSTED = [2.0, 2.1, 1.9]
SAME, HIGHER = [2.0, 2.05, 1.95], [3.0, 3.1, 2.9]


def test_whole_points_are_one_family_with_the_margin_of_the_reference():
    points = {
        REFERENCE: Outcomes(TRUSTED),
        ("recipe", 64): Outcomes(SAME),
        ("recipe", 256): Outcomes(HIGHER),
        ("other", 64): Outcomes(HIGHER),
        ("other", 128): Outcomes([]),
        ("other", 256): Outcomes(SAME, num_diverged=1),
    }
    found = judge(points, REFERENCE)
    whole = {key: points[key].results for key in (("recipe", 64), ("recipe", 256), ("other", 64))}
    assert found.verdicts == compare(whole, TRUSTED)
    assert (found.margin, found.is_stated, found.remark) == (noise_band(TRUSTED), False, "")
    assert found.elbow == find_elbow({16: TRUSTED, 64: SAME, 256: HIGHER}, reference=16)
    stated = judge(points, REFERENCE, 0.5)
    assert (stated.margin, stated.is_stated) == (0.5, True)


@pytest.mark.parametrize(
    ("reference", "remark"),
    [
        (Outcomes([]), "the reference has no result"),
        (Outcomes(TRUSTED, 1), "a run of the reference diverged"),
        (Outcomes([], 3), "3 runs of the reference diverged"),
    ],
)
def test_without_a_whole_reference_nothing_is_judged_and_why_is_said(reference, remark):
    found = judge({REFERENCE: reference, ("recipe", 64): Outcomes(SAME)}, REFERENCE, 0.5)
    assert (found.reference, found.verdicts, found.elbow, found.remark) == (None, {}, None, remark)


def test_without_noise_there_is_no_margin_and_no_elbow():
    for errors in ([2.0], [2.0, 2.0]):
        found = judge({REFERENCE: Outcomes(errors), ("recipe", 64): Outcomes(SAME)}, REFERENCE)
        assert (found.margin, found.elbow) == (None, None)
        assert found.verdicts["recipe", 64].kind == "cannot tell"
    with pytest.raises(InputError, match="not above 0"):
        judge({}, None, -1.0)


@pytest.mark.parametrize(
    ("errors", "diverged", "text"),
    [
        ({64: SAME}, [256], "between 64 and 256, where runs diverged"),
        ({}, [64, 256], "already left at 64, the first size measured above the reference, where runs diverged"),
        ({64: SAME, 256: SAME}, [8], "not left up to 256 (95 %: beyond 256)"),
    ],
)
def test_a_size_that_diverged_lies_beyond_the_elbow(errors, diverged, text):
    elbow = find_elbow({16: TRUSTED} | errors, reference=16, margin=0.5, diverged=diverged)
    assert str(elbow) == text
    assert elbow.diverged == tuple(size for size in diverged if size > 16)


def test_a_divergence_elsewhere_is_said_behind_the_elbow():
    within = find_elbow({16: TRUSTED, 64: SAME, 512: SAME}, reference=16, margin=0.5, diverged=[256])
    assert (within.first_beyond, within.largest) == (None, 512)
    assert str(within).endswith("; 256 diverged")
    beyond = find_elbow({16: TRUSTED, 64: SAME, 256: HIGHER}, reference=16, margin=0.5, diverged=[512])
    plain = find_elbow({16: TRUSTED, 64: SAME, 256: HIGHER}, reference=16, margin=0.5)
    assert (beyond.minibatch_size, beyond.first_beyond) == (plain.minibatch_size, 256)
    assert str(beyond).endswith("; 512 diverged")


@given(st.sets(st.sampled_from([32, 64, 128, 256, 512])), st.sets(st.sampled_from([32, 64, 128, 256, 512])))
def test_no_elbow_lies_above_the_first_of_diverging_sizes_that_nothing_follows(matching, diverged):
    errors = dict.fromkeys(matching - diverged, SAME)
    if not errors and not diverged:
        return
    elbow = find_elbow({16: TRUSTED, **errors}, reference=16, margin=0.5, diverged=diverged)
    last = max(errors, default=16)
    assert elbow.last_within == last
    assert (elbow.first_beyond is None) == (max(diverged, default=0) < last)
    assert elbow.minibatch_size is None or math.isclose(elbow.minibatch_size, last)
