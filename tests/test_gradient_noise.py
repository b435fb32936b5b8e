"""Signal and noise of gradients, against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bigbatch.reduction.worker_norms import norms, sum_rows
from bigbatch.rules.adascale import gain
from bigbatch.rules.gradient_noise import GradientNoise, RunningNoise, estimate_noise, smoothed_noise_scale
from bigbatch.step.step import Step

MEAN, STD, SIZE = np.array([0.5, -1.0, 2.0]), np.array([3.0, 1.0, 0.5]), 6
SQUARE, VARIANCE = float((MEAN**2).sum()), float((STD**2).sum())


class Quadratic(nn.Module):
    """The loss |w - x|^2 / 2 of a sample x. Its gradient is w - x, so x has the mean and covariance of the gradient."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return 0.5 * (self.weight - x).square().sum(1)


def measure(x, *, n):
    """Return what a step measures at w = 0 on samples x."""
    model = Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    step = Step(model, lambda losses, _: losses, optimizer, minibatch_size=len(x), worker_minibatch_size=n)
    batches = [(part, part) for part in torch.as_tensor(x, dtype=torch.float32).split(n)]
    return step.backward(batches, measures_noise=True).noise


def test_a_step_measures_what_numpy_computes_from_the_samples_gradients():
    """With n = 1 the workers are the samples: their sample covariance, and |mean|^2 without its own noise."""
    x = np.random.default_rng(0).normal(MEAN, STD, (SIZE, 3))
    noise = measure(x, n=1)
    variance = x.var(axis=0, ddof=1).sum()
    assert noise.variance == pytest.approx(variance, rel=1e-4)
    assert noise.square == pytest.approx((x.mean(axis=0) ** 2).sum() - variance / SIZE, rel=1e-4)


@pytest.mark.parametrize(("n", "k"), [(1, 2), (2, 3), (8, 16)])
def test_the_estimates_have_no_bias(n, k):
    """On a quadratic of known gradient and covariance their mean is the truth, within 4 of its standard errors."""
    samples = np.random.default_rng(n).normal(MEAN, STD, (20_000, k, n, 3))
    workers = samples.mean(axis=2)
    sums, squares = (workers / k).__pow__(2).sum(axis=(1, 2)), (workers.mean(axis=1) ** 2).sum(axis=1)
    found = [estimate_noise(*pair, worker_count=k, worker_minibatch_size=n) for pair in zip(sums, squares, strict=True)]
    for truth, values in ((SQUARE, [f.square for f in found]), (VARIANCE, [f.variance for f in found])):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(len(values))
    biased = squares.mean()  # the control: |g|^2 itself has the noise in it
    assert biased - SQUARE == pytest.approx(VARIANCE / (k * n), rel=0.2)


def test_it_is_the_estimate_from_two_minibatch_sizes():
    """Of McCandlish et al. 2018, arXiv 1812.06162, appendix A.1, with the sizes n and kn."""
    k, n, sums, total = 5, 4, 3.0, 7.0
    small, big, big_size = k * sums, total, k * n
    noise = estimate_noise(sums, total, worker_count=k, worker_minibatch_size=n)
    assert noise.square == pytest.approx((big_size * big - n * small) / (big_size - n))
    assert noise.variance == pytest.approx((small - big) / (1 / n - 1 / big_size))


def test_one_worker_alone_tells_nothing():
    assert measure(np.ones((4, 3)), n=4) is None
    assert measure(np.ones((4, 3)), n=2).variance == pytest.approx(0, abs=1e-5)


def test_what_overflows_tells_nothing_rather_than_infinity():
    """Gradients of 1e20 are finite, but their squares are not in float32."""
    assert measure(np.full((4, 3), 1e20), n=2) is None


def test_a_norm_does_not_depend_on_what_else_is_asked_for():
    """Processes ask bucket by bucket, and a bucket has one dtype."""
    mixed = [torch.randn(50, dtype=dtype) for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.bfloat16)]
    assert [norm.item() for norm in norms(mixed)] == [norms([tensor])[0].item() for tensor in mixed]
    assert norms([]) == []


def test_the_average_of_the_ratio_is_that_of_its_parts():
    """It converges to tr(Sigma) / |G|^2; the mean of the ratios, the control, does not."""
    generator = np.random.default_rng(3)
    squares, variances = generator.normal(1.0, 3.0, 20_000), generator.normal(8.0, 1.0, 20_000)
    running = RunningNoise()
    for square, variance in zip(squares, variances, strict=True):
        running.add(GradientNoise(square, variance), scale=0.1)
    assert running.average.scale == pytest.approx(8.0, rel=0.2)
    assert np.mean(variances / squares) != pytest.approx(8.0, rel=0.5)
    assert GradientNoise(-1.0, 2.0).scale is None
    assert GradientNoise(1.0, -2.0).scale is None


@given(st.floats(0.1, 10_000.0), st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_the_average_of_a_constant_is_the_constant_from_the_first_iteration_on(scale, values):
    running = RunningNoise()
    assert running.average is None
    for _ in values:
        running.add(GradientNoise(2.0, 3.0), scale=scale)
        assert running.average.square == pytest.approx(2.0)
        assert running.average.variance == pytest.approx(3.0)


@given(st.floats(-1, 1e6), st.floats(-1, 1e6), st.integers(1, 64), st.integers(1, 512))
def test_the_gain_lies_between_one_step_and_as_many_as_the_minibatch_holds(square, variance, reference, times):
    """The gain grows with the noise."""
    sizes = {"minibatch_size": reference * times, "reference": reference}
    found = gain(GradientNoise(square, variance), **sizes)
    assert 1 <= found <= times * (1 + 1e-9)
    assert gain(GradientNoise(square, variance + 1), **sizes) >= found * (1 - 1e-9)


def test_the_gain_has_the_papers_definition():
    """E|g_1|^2 / E|g_S|^2: the expected squared norms of a gradient of the reference and of the minibatch."""
    reference, size = 4, 32
    expected = (SQUARE + VARIANCE / reference) / (SQUARE + VARIANCE / size)
    found = gain(GradientNoise(SQUARE, VARIANCE), minibatch_size=size, reference=reference)
    assert found == pytest.approx(expected)


@given(st.integers(1, 5_000), st.integers(0, 20), st.booleans())
def test_norms_have_the_same_bits_wherever_a_tensor_lies(numel, offset, is_last):
    values = torch.randn(numel, generator=torch.Generator().manual_seed(numel))
    room = torch.full((numel + 64,), torch.nan)
    view = room[offset : offset + numel].copy_(values)
    if is_last and numel % 6 == 0:  # as channels-last weights lie
        values, view = (t.view(-1, 2, 3).permute(0, 2, 1) for t in (values, view))
    assert torch.equal(norms([values])[0], norms([view])[0])


@pytest.mark.parametrize("num_rows", [1, 2, 8, 64])
def test_a_column_has_the_same_sum_whatever_stands_beside_it(num_rows):
    rows = torch.randn(num_rows, 7, dtype=torch.float64)
    for width in range(1, 8):
        assert torch.equal(sum_rows(rows[:, :width]), sum_rows(rows)[:width])
    assert sum_rows(rows).tolist() == pytest.approx(rows.sum(0).tolist())


@given(st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.1, 10.0)), min_size=1), st.floats(1.0, 50.0))
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
    """Unbiased estimates of |G|^2 may be negative, and count in the average too."""
    first, second = smoothed_noise_scale([-1.0, 4.0], [8.0, 8.0], 2)
    assert first is None
    assert math.isclose(second, 8.0 * 3 / (4.0 * 2 - 1.0))
