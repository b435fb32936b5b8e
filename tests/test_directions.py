"""Where higher is better, every judgement is the mirror image of the one on the results' negatives."""

import math
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bigbatch.recipe.metrics import MEAN_IOU, MEAN_LOSS, PERPLEXITY, TOP_1_ERROR, TOP_5_ERROR, Measure
from bigbatch.study.configuration import Configuration
from bigbatch.study.statistics import (
    MATCHES,
    WORSE,
    Outcomes,
    compare,
    difference,
    find_elbow,
    judge,
    noise_band,
    summarise,
)
from bigbatch.study.statistics.digits import digits_of
from bigbatch.study.statistics.possible import is_possible, possible_range
from simulations import MARGINS, NOISY, RUNS

LOW, HIGH = Measure("badness", "", "lower"), Measure("goodness", "", "higher")
FAMILIES = st.dictionaries(st.sampled_from([512, 1024, 2048, 4096]), RUNS, min_size=1)
EXACTLY_THE_SAME = ("kind", "margin", "p_not_worse", "p_equivalent", "p_different", "more_seeds")


def negated(runs):
    return [-run for run in runs]


def mirrored_words(reason):
    """Exchange plus and minus, and the words for the two sides."""
    exchanged = {"+": "-", "-": "+", "below": "above"}
    return " ".join(exchanged.get(word, exchanged.get(word[0], word[0]) + word[1:]) for word in reason.split(" "))


ALIKE = [0.0, 0.0, 0.0, 0.0, 1 / 64]


@given(FAMILIES, NOISY, st.none() | MARGINS)
@example({512: ALIKE}, ALIKE, None)
@settings(max_examples=40, deadline=None)
def test_verdicts_are_mirrored(family, reference, margin):
    """Kinds, p-values and seeds are equal to the bit; differences and signed words have the other sign, but for 0's."""
    higher = compare(family, reference, measure=HIGH, margin=margin)
    lower = compare(
        {key: negated(runs) for key, runs in family.items()}, negated(reference), measure=LOW, margin=margin
    )
    for key, verdict in higher.items():
        mirror = lower[key]
        assert [getattr(verdict, name) for name in EXACTLY_THE_SAME] == [
            getattr(mirror, name) for name in EXACTLY_THE_SAME
        ]
        shown = (verdict.difference.low, verdict.difference.mean, verdict.difference.high)
        assert shown == (-mirror.difference.high, -mirror.difference.mean, -mirror.difference.low)
        is_signed = verdict.kind == MATCHES and "better" not in verdict.reason and verdict.difference.mean != 0
        assert verdict.reason == (mirrored_words(mirror.reason) if is_signed else mirror.reason)


@given(FAMILIES, NOISY, MARGINS)
@settings(max_examples=40, deadline=None)
def test_elbows_are_mirrored(family, reference, margin):
    curve = {256: reference} | family
    higher = find_elbow(curve, reference=256, measure=HIGH, margin=margin)
    lower = find_elbow({size: negated(runs) for size, runs in curve.items()}, reference=256, measure=LOW, margin=margin)
    assert higher == replace(lower, level=-lower.level)
    assert str(higher) == str(lower)


@given(FAMILIES, NOISY)
@settings(max_examples=20, deadline=None)
def test_whole_judgements_are_mirrored(family, reference):
    curve = {Configuration("recipe", size): runs for size, runs in ({256: reference} | family).items()}
    points = {key: Outcomes(runs) for key, runs in curve.items()}
    mirror = {key: Outcomes(negated(runs)) for key, runs in curve.items()}
    higher, lower = (
        judge(some, Configuration("recipe", 256), measure=measure) for some, measure in ((points, HIGH), (mirror, LOW))
    )
    assert (higher.margin, higher.remark, str(higher.elbow)) == (lower.margin, lower.remark, str(lower.elbow))
    assert higher.reference == replace(lower.reference, mean=-lower.reference.mean)
    assert higher.digits == lower.digits
    assert {key: verdict.kind for key, verdict in higher.verdicts.items()} == {
        key: verdict.kind for key, verdict in lower.verdicts.items()
    }


@given(RUNS, NOISY)
@settings(max_examples=20, deadline=None)
def test_what_knows_no_direction_is_mirrored_too(runs, reference):
    one, other = difference(runs, reference), difference(negated(runs), negated(reference))
    assert (one.low, one.mean, one.high) == (-other.high, -other.mean, -other.low)
    assert summarise(negated(runs)) == replace(summarise(runs), mean=-summarise(runs).mean)
    assert noise_band(negated(reference)) == noise_band(reference)


@given(FAMILIES, NOISY, MARGINS)
@settings(max_examples=30, deadline=None)
def test_an_accuracy_is_judged_as_its_error_is(family, reference, margin):
    """With the possible values, 0 to 100 %, that both are cut to. They are multiples of 1/64: exact."""
    errors = compare(family, reference, measure=TOP_1_ERROR, margin=margin)
    hits = {key: [100 - run for run in runs] for key, runs in family.items()}
    shares = compare(hits, [100 - run for run in reference], measure=MEAN_IOU, margin=margin)
    for key, verdict in errors.items():
        assert shares[key].kind == verdict.kind
        shown, mirror = shares[key].difference, verdict.difference
        assert (shown.low, shown.mean, shown.high) == pytest.approx((-mirror.high, -mirror.mean, -mirror.low), abs=1e-9)


def test_verdicts_on_an_accuracy_read_in_a_line():
    verdicts = compare(
        {
            "same": [61.1, 61.15, 61.2, 61.11],
            "worse": [60.1, 60.0, 59.9, 60.0],
            "better": [62.1, 62.0, 62.2, 62.1],
            "above": [61.4, 61.0, 61.5, 61.1],
            "lost": [2.0, 40.0, 55.0, 10.0],
        },
        [61.0, 61.1, 61.2, 61.1],
        measure=MEAN_IOU,
        margin=0.3,
    )
    assert str(verdicts["same"]) == "matches: +0.04 ± 0.10, within 0.30"
    assert str(verdicts["worse"]) == "worse by 1.10 ± 0.11"
    assert str(verdicts["better"]) == "matches: better by 1.00 ± 0.11"
    assert str(verdicts["above"]) == "matches: +0.15 ± 0.27, above -0.30"
    assert str(verdicts["lost"]) == "worse by 34.35: every seed by 6.10 or more"
    assert verdicts["lost"].difference.low == pytest.approx(-61.1), "no accuracy is below 0"


def test_the_elbow_of_an_accuracy_is_where_it_falls():
    falling = {256: [98.0, 98.1], 512: [98.2, 98.3], 1024: [95.0, 95.1]}
    found = find_elbow(falling, reference=256, measure=MEAN_IOU, margin=0.5)
    assert (found.last_within, found.first_beyond, found.level) == (512, 1024, pytest.approx(97.55))
    assert find_elbow(falling, reference=256, measure=TOP_1_ERROR, margin=0.5).first_beyond is None, "the control"


@pytest.mark.parametrize(
    ("measure", "reference", "runs", "text"),
    [
        (PERPLEXITY, [6.31, 6.35, 6.28], [7.1, 7.2, 7.15], "worse by 0.837 ± 0.078"),
        (PERPLEXITY, [812.0, 840.0, 799.0], [1205.0, 1199.0, 1210.0], "worse by 388 ± 34"),
        (MEAN_LOSS, [0.00123, 0.00125, 0.00121], [0.0019, 0.00192, 0.00188], "worse by 0.000670 ± 0.000035"),
        (MEAN_LOSS, [1.2e-9, 1.3e-9, 1.1e-9], [3e-9, 3.1e-9, 2.9e-9], "worse by 1.80e-09 ± 1.74e-10"),
        (Measure("f1", "", "higher"), [0.81, 0.82, 0.815], [0.71, 0.72, 0.715], "worse by 0.1000 ± 0.0087"),
    ],
)
def test_numbers_have_the_digits_that_their_spread_deserves(measure, reference, runs, text):
    assert str(compare({512: runs}, reference, measure=measure)[512]) == text
    assert compare({512: runs}, reference, measure=measure)[512].kind == WORSE


def test_digits_without_a_spread_are_four_and_of_nothing_are_two():
    assert digits_of(PERPLEXITY, summarise([6.3125])) == ".3f"
    assert digits_of(PERPLEXITY, summarise([6.3125, 6.3125])) == ".3f"
    assert digits_of(MEAN_LOSS, summarise([0.0])) == ".3f"
    assert digits_of(PERPLEXITY, None) == digits_of(TOP_1_ERROR, summarise([0.0001, 0.0002])) == ".2f"
    assert f"{summarise([6.3125]):{digits_of(PERPLEXITY, summarise([6.3125]))}}" == "6.312 (one run)"


def test_only_known_shares_have_an_end_at_100():
    for measure in (TOP_1_ERROR, TOP_5_ERROR, MEAN_IOU):
        assert possible_range(measure) == (0, 100)
        assert not is_possible(measure, 100.5)
        assert not is_possible(measure, -0.5)
    assert is_possible(Measure("word-error-rate", "%", "lower"), 140.0)
    assert is_possible(PERPLEXITY, 2133.81)
    assert not is_possible(PERPLEXITY, -1.0)
    assert is_possible(MEAN_LOSS, -1.0)
    assert not any(is_possible(measure, math.nan) for measure in (TOP_1_ERROR, MEAN_LOSS, HIGH))
    wide = compare({512: [1.0, 300.0, 2.0]}, [1.0, 1.1, 1.2], measure=PERPLEXITY, margin=0.1)[512]
    assert wide.difference.low == pytest.approx(-1.1), "no perplexity is below 0"
