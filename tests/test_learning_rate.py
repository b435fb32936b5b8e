"""Scaling, warmup and schedules (arXiv 1706.02677, sections 2 and 5.1)."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.rules.adascale import ADASCALE
from bigbatch.rules.learning_rate import LearningRate
from bigbatch.rules.scaling import SCALING_RULES, linear_scaling, no_scaling, square_root_scaling

RATES = st.floats(1e-4, 10)


def test_8192_is_32_times_the_reference_rate():
    assert linear_scaling(0.1, minibatch_size=8192, reference=256) == pytest.approx(3.2, abs=1e-12)
    assert square_root_scaling(0.1, minibatch_size=8192, reference=256) == pytest.approx(0.1 * math.sqrt(32))
    assert no_scaling(0.1, minibatch_size=8192, reference=256) == 0.1


@given(RATES, st.floats(1, 64), st.integers(1, 500), st.sampled_from(["step", "cosine", "constant"]))
def test_gradual_warmup_starts_at_the_reference_ends_at_the_base_and_rises_by_a_constant(rate, k, iterations, schedule):
    base = rate * k
    schedule_of = LearningRate(rate, base, "gradual", iterations, schedule, (), 0.1, iterations + 100)
    values = [schedule_of(i) for i in range(iterations + 1)]
    assert values[0] == rate
    assert values[-1] == pytest.approx(base, rel=1e-12)
    rises = [b - a for a, b in pairwise(values)]
    assert rises == pytest.approx([(base - rate) / iterations] * iterations, abs=1e-12 * base)


@given(RATES, st.integers(1, 500))
def test_constant_warmup_stays_at_the_reference_then_jumps(rate, iterations):
    schedule_of = LearningRate(rate, 8 * rate, "constant", iterations, "constant", (), 0.1, iterations + 1)
    assert {schedule_of(i) for i in range(iterations)} == {rate}
    assert schedule_of(iterations) == 8 * rate


def test_step_schedule_drops_at_its_milestones():
    rate = LearningRate(1.0, 1.0, "none", 0, "step", (30, 60, 80), 0.1, 90)
    assert [rate(i) for i in (0, 29)] == [1.0, 1.0]
    assert [rate(i) for i in (30, 59, 60, 79, 80, 89)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


@given(st.integers(0, 50), st.integers(51, 500))
def test_cosine_falls_from_the_base_after_warmup_to_almost_zero(warmup, total):
    rate = LearningRate(0.1, 1.0, "gradual", warmup, "cosine", (), 0.1, total)
    values = [rate(i) for i in range(warmup, total)]
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] <= 1 - math.cos(math.pi / len(values))
    assert replace(rate, schedule="constant")(total - 1) == 1.0


@given(st.sampled_from([64, 256, 512, 8192]), st.sampled_from(sorted(SCALING_RULES)), st.integers(1, 200))
def test_one_call_scales_warms_up_and_decays_as_the_parts_do(size, scaling, iterations_per_epoch):
    """There is no warmup with AdaScale, nor at or below the reference's size; milestones are epochs of the training."""
    rate = LearningRate.scaled(
        0.1,
        reference=256,
        minibatch_size=size,
        epochs=90,
        iterations_per_epoch=iterations_per_epoch,
        warmup_epochs=5,
        schedule="step",
        milestones=(30, 60, 80),
        scaling=scaling,
    )
    base = SCALING_RULES[scaling](0.1, minibatch_size=size, reference=256)
    warmup = 5 * iterations_per_epoch if size > 256 and scaling != ADASCALE else 0
    drops = tuple(epoch * iterations_per_epoch for epoch in (30, 60, 80))
    assert rate == LearningRate(0.1, base, "gradual", warmup, "step", drops, 0.1, 90 * iterations_per_epoch)


@pytest.mark.parametrize("word", ["scaling", "warmup", "schedule"])
def test_a_word_that_no_rule_has_is_refused(word):
    sizes = {"reference": 256, "minibatch_size": 512, "epochs": 1, "iterations_per_epoch": 10}
    with pytest.raises(InputError, match=f"{word} 'cosin' is unknown"):
        LearningRate.scaled(0.1, **sizes, **{word: "cosin"})
