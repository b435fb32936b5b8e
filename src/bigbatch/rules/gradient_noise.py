"""How noisy gradients are: unbiased estimates from the workers of one minibatch, and running averages of them.

G is the gradient over all data, and Sigma the covariance of one sample's gradient. The gradient of B samples has the
expectation G and the covariance Sigma / B. The *gradient noise scale* tr(Sigma) / |G|^2 (McCandlish et al. 2018,
arXiv 1812.06162, eq. 2.9) is the minibatch size at which noise and signal are equal. Far below it, doubling the
minibatch nearly halves the number of updates. Far above it, doubling saves almost none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

AVERAGED_ITERATIONS: Final = 1000  # at the reference minibatch size (arXiv 2007.05105, section 4)


@dataclass(frozen=True)
class GradientNoise:
    """Signal and noise of a gradient.

    Attributes:
        square: an estimate of |G|^2; that of a single minibatch may be negative.
        variance: an estimate of tr(Sigma), of one sample's gradient.
    """

    square: float
    variance: float

    @property
    def scale(self) -> float | None:
        """The gradient noise scale in samples; None if one of the two is negative by chance."""
        return self.variance / self.square if self.square > 0 and self.variance >= 0 else None


def estimate_noise(
    sum_of_squares: float, square_of_sum: float, *, worker_count: int, worker_minibatch_size: int
) -> GradientNoise:
    """Estimate signal and noise from the gradients of one minibatch's workers.

    The workers' mean gradients g_j, of n samples each, scatter around G with tr(Sigma) / n. Their sample variance is
    s = (sum |g_j|^2 - k |g|^2) / (k - 1). So tr(Sigma) = n s and |G|^2 = |g|^2 - s / k, without bias. This is the
    estimate from two minibatch sizes, here n and kn, of arXiv 1812.06162, appendix A.1.

    Args:
        sum_of_squares: over the workers, of |g_j / k|^2; g_j / k is what a worker adds to the sum.
        square_of_sum: |g|^2 of the minibatch's gradient g, the mean of the g_j.
        worker_count: k, at least 2; one worker has no scatter.
        worker_minibatch_size: n.

    >>> estimate_noise(0.5**2 + 1.5**2, 2.0**2, worker_count=2, worker_minibatch_size=4)  # g_j are 1 and 3
    GradientNoise(square=3.0, variance=8.0)
    """
    scatter = worker_count * (worker_count * sum_of_squares - square_of_sum) / (worker_count - 1)
    return GradientNoise(square_of_sum - scatter / worker_count, worker_minibatch_size * scatter)


@dataclass
class RunningNoise:
    """Exponential averages of signal and of noise, separately: an average of their ratios would be biased.

    They span about 1000 iterations at the reference minibatch size, and 1000 / S at S times that size. So they always
    span the same number of samples.

    Attributes:
        square: average of |G|^2.
        variance: average of tr(Sigma).
        weight: of all measurements in the averages; 0 before the first.
    """

    square: float = 0.0
    variance: float = 0.0
    weight: float = 0.0

    def add(self, noise: GradientNoise, *, scale: float) -> None:
        """Average in an iteration at S = `scale` times the reference minibatch size."""
        new = min(1.0, scale / AVERAGED_ITERATIONS)
        self.square += new * (noise.square - self.square)
        self.variance += new * (noise.variance - self.variance)
        self.weight += new * (1 - self.weight)

    @property
    def average(self) -> GradientNoise | None:
        """The averages, corrected for their start at zero; None before the first measurement."""
        return GradientNoise(self.square / self.weight, self.variance / self.weight) if self.weight else None


def smoothed_noise_scale(
    squares: Sequence[float | None], variances: Sequence[float | None], horizon: float
) -> list[float | None]:
    """Return the noise scale tr(Sigma) / |G|^2, in samples, at each measurement (arXiv 1812.06162, section 2.2).

    A single pair of estimates says almost nothing, and the ratio of two noisy numbers is biased. So numerator and
    denominator are averaged first, each exponentially over about `horizon` measurements.

    Args:
        squares: unbiased estimates of |G|^2, the squared norm of the true gradient; None if nothing was measured.
        variances: unbiased estimates of tr(Sigma), the summed variance of one sample's gradient; as many.
        horizon: measurements that the averages span, at least 1.

    Returns:
        The noise scale at each measurement; None if nothing was measured or the averaged |G|^2 is not above 0.

    >>> smoothed_noise_scale([1.0, 3.0, None], [8.0, 8.0, 8.0], horizon=1)
    [8.0, 2.6666666666666665, None]
    >>> smoothed_noise_scale([1.0, 1.0], [3.0, 6.0], horizon=2)  # the older counts half: 1/3 and 2/3
    [3.0, 5.0]
    """
    keep = 1 - 1 / max(horizon, 1)
    square = variance = 0.0
    scales: list[float | None] = []
    for pair in zip(squares, variances, strict=True):
        if (new := _finite_pair(*pair)) is None:
            scales.append(None)
            continue
        # Both averages lack the same factor 1 - keep^t, so it cancels in their ratio.
        square, variance = keep * square + (1 - keep) * new[0], keep * variance + (1 - keep) * new[1]
        scales.append(variance / square if square > 0 and variance >= 0 else None)
    return scales


def _finite_pair(square: float | None, variance: float | None) -> tuple[float, float] | None:
    if square is None or variance is None or not (math.isfinite(square) and math.isfinite(variance)):
        return None
    return square, variance
