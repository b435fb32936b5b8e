"""The elbow: where the curve leaves the flat part, and how often its interval covers the truth."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.study.statistics import find_elbow
from bigbatch.study.statistics.elbow import crossings
from simulations import ERRORS, MARGINS, at_least, at_most

SIZES = [2**power for power in range(8, 15)]


def hinge(knee=2048, slope=0.5):
    """Mean errors that are flat up to `knee` and then rise by `slope` with every doubling."""
    return [6.0 + slope * max(0.0, math.log2(size / knee)) for size in SIZES]


def test_the_elbow_is_where_the_line_crosses_the_level():
    errors = {size: 3 * [mean - 0.125, mean + 0.125] for size, mean in zip(SIZES, hinge(), strict=True)}
    elbow = find_elbow(errors, reference=256, margin=0.25)
    assert elbow.minibatch_size == pytest.approx(2048 * 2**0.5, rel=1e-12)
    assert (elbow.last_within, elbow.first_beyond, elbow.largest, elbow.level) == (2048, 4096, 16384, 6.25)
    assert elbow.low < elbow.minibatch_size < elbow.high
    assert str(elbow) == f"about 2896, between 2048 and 4096 (95 %: {elbow.low:.0f} to {elbow.high:.0f})"


def test_a_mean_at_the_level_is_within():
    elbow = find_elbow({256: [6.0], 512: [6.5], 1024: [7.0]}, reference=256, margin=0.5)
    assert (elbow.minibatch_size, elbow.last_within) == (512, 512)


def test_the_elbow_is_the_last_crossing():
    elbow = find_elbow({256: [6.0], 512: [7.0], 1024: [6.0], 2048: [8.0]}, reference=256, margin=1 / 2)
    assert (elbow.last_within, elbow.first_beyond) == (1024, 2048)
    assert str(elbow).endswith("(no interval: a size has one seed)")


def test_not_left_and_already_left_are_outcomes():
    flat = find_elbow({256: [6.0, 6.1], 512: [6.0, 6.1]}, reference=256, margin=5.0)
    assert (flat.minibatch_size, flat.low, flat.high, flat.first_beyond) == (None, None, None, None)
    assert str(flat) == "not left up to 512 (95 %: beyond 512)"
    steep = find_elbow({128: [5.0], 256: [6.0, 6.1], 512: [9.0, 9.1], 1024: [9.0, 9.1]}, reference=256, margin=0.5)
    assert str(steep).startswith("already left at 512, the first size measured above the reference (95 %: ")
    assert 256 < steep.low <= steep.minibatch_size <= steep.high < 512


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        (
            (256, 2048),
            "already left at 2048, the first size measured above the reference; nothing was measured in betw",
        ),
        ((256, 512, 4096, 8192), "between 512 and 4096; nothing was measured in between"),
    ],
)
def test_between_sizes_far_apart_the_elbow_has_no_place(sizes, text):
    errors = {size: [6.0, 6.1] if size < 2048 else [9.0, 9.1] for size in sizes}
    elbow = find_elbow(errors, reference=256, margin=0.5)
    assert (elbow.minibatch_size, elbow.low, elbow.high) == (None, None, None)
    assert str(elbow).startswith(text)
    assert find_elbow({256: [6.0, 6.1], 1024: [9.0, 9.1]}, reference=256, margin=0.5).low > 256


@pytest.mark.parametrize(
    ("sizes", "spread", "low"),
    [((256, 2048, 4096), 0.2, 256), ((256, 512, 65536), 0.01, 512), ((256, 512, 1024), 0.2, None)],
)
def test_an_interval_does_not_end_between_sizes_far_apart(sizes, spread, low):
    runs = [6.0, 6.1, 6.2], [6.3 - spread, 6.3, 6.3 + spread], [6.3, 6.5, 6.7]
    elbow = find_elbow(dict(zip(sizes, runs, strict=True)), reference=256, margin=0.5)
    assert elbow.low == low if low else elbow.low not in sizes
    assert elbow.high is None


def test_a_diverged_run_counts_with_what_it_recorded():
    elbow = find_elbow({256: [6.0, 6.1], 512: [6.1, 6.0], 1024: [6.1, 90.0]}, reference=256, margin=0.5)
    assert (elbow.last_within, elbow.first_beyond) == (512, 1024)
    assert 512 <= elbow.minibatch_size < 520  # the line to 48 % leaves at once; the two sizes say more
    assert elbow.high is None  # one of two seeds was fine: it may as well not have left
    assert "to beyond 1024" in str(elbow)


def test_a_lost_size_is_beyond_in_every_draw_however_its_seeds_spread():
    """Else the drawn mean could fall to the reference's, and the interval end beyond the largest size."""
    reference = [8.30, 8.09, 8.28, 8.36, 8.42]
    elbow = find_elbow({64: reference, 128: reference, 256: [71.61, 24.59, 52.98]}, reference=64, margin=0.25)
    assert (elbow.last_within, elbow.first_beyond) == (128, 256)
    assert 128 <= elbow.low <= elbow.high < 256
    lucky = find_elbow({64: reference, 128: reference, 256: [71.61, 8.3, 52.98]}, reference=64, margin=0.25)
    assert lucky.high is None


@pytest.mark.parametrize("errors", [{}, {256: [6.0, 6.1]}, {512: [6.0], 1024: [6.0]}, {128: [6.0], 256: [6.0]}])
def test_an_elbow_needs_the_reference_and_a_larger_size(errors):
    with pytest.raises(InputError, match="of the reference, 256, and of a larger minibatch size"):
        find_elbow(errors, reference=256, margin=0.3)


def test_the_same_seed_gives_the_same_interval():
    errors = {size: [mean - 0.1, mean + 0.1] for size, mean in zip(SIZES, hinge(), strict=True)}
    one, same, other = (find_elbow(errors, reference=256, margin=0.3, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert (one.low, one.minibatch_size) != (other.low, other.minibatch_size)
    shuffled = {size: errors[size][::-1] for size in reversed(SIZES)}
    assert find_elbow(shuffled, reference=256, margin=0.3) == one


@given(st.lists(ERRORS, min_size=2, max_size=7), MARGINS, ERRORS)
@settings(deadline=None)
def test_a_crossing_lies_after_the_last_mean_within_and_a_constant_does_not_move_it(means, margin, constant):
    (crossing,) = crossings(np.array([means]), SIZES[: len(means)], margin)
    (moved,) = crossings(np.array([means]) + constant, SIZES[: len(means)], margin)
    assert moved == crossing
    beyond = [mean > means[0] + margin for mean in means]
    if math.isinf(crossing):
        assert not beyond[-1]
    else:
        assert all(beyond[i] for i in range(len(means)) if 8 + i > crossing + 1e-9)
        assert not beyond[math.floor(crossing + 1e-12) - 8]


@given(st.lists(ERRORS, min_size=2, max_size=7), MARGINS)
@settings(deadline=None)
def test_a_wider_margin_never_brings_the_elbow_nearer(means, margin):
    places = [crossings(np.array([means]), SIZES[: len(means)], wider)[0] for wider in (margin, 2 * margin, 3 * margin)]
    assert all(near <= far for near, far in pairwise(places))


@pytest.mark.parametrize(("num_seeds", "num_curves", "most"), [(3, 800, 1.0), (10, 500, 0.98)])
def test_the_interval_covers_the_true_elbow_at_least_as_often_as_it_says(num_seeds, num_curves, most):
    """With 3 seeds, resampled seeds would cover it in 80 % and normal draws in 90 % of the cases; both are too few."""
    rng = np.random.default_rng(5)
    curves = rng.normal(np.array(hinge())[:, None], 0.1, (num_curves, len(SIZES), num_seeds)).tolist()
    elbows = [find_elbow(dict(zip(SIZES, curve, strict=True)), reference=256, margin=0.2) for curve in curves]
    truth = 2048 * 2 ** (0.2 / 0.5)
    covered = sum((e.low or math.inf) <= truth <= (e.high or math.inf) for e in elbows)
    assert at_least(covered, len(curves), 0.95)
    assert at_most(covered, len(curves), most)
