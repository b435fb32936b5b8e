"""The gradient noise scale."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.noise_scale import smoothed_noise_scale

measured = st.floats(0.1, 10.0)


@given(st.lists(st.tuples(measured, measured), min_size=1), st.floats(1.0, 50.0))
def test_the_averages_are_of_numerator_and_denominator_with_the_same_weights(pairs, horizon):
    """Each is the sum of weight (1 - 1/horizon)^age times its values; the ratio of the sums is the scale."""
    squares, variances = zip(*pairs, strict=True)
    keep = 1 - 1 / horizon
    weights = keep ** np.arange(len(pairs))[::-1]
    expected = np.dot(weights, variances) / np.dot(weights, squares)
    found = smoothed_noise_scale(squares, variances, horizon)
    assert len(found) == len(pairs)
    assert math.isclose(found[-1], expected, rel_tol=1e-6)


def test_what_was_not_measured_is_skipped_and_changes_nothing():
    gaps = smoothed_noise_scale([1.0, None, math.nan, 3.0], [5.0, 1.0, 1.0, 6.0], 4)
    whole = smoothed_noise_scale([1.0, 3.0], [5.0, 6.0], 4)
    assert gaps == [whole[0], None, None, whole[1]]


def test_an_estimate_that_is_not_positive_gives_no_scale_until_the_average_is():
    """Unbiased estimates of |G|^2 may be negative; they count in the average all the same."""
    first, second = smoothed_noise_scale([-1.0, 4.0], [8.0, 8.0], 2)
    assert first is None
    assert math.isclose(second, 8.0 * 3 / (4.0 * 2 - 1.0))
