"""The gradient noise scale: how large a minibatch can be before it tells little more than a smaller one."""

import math
from collections.abc import Sequence


def smoothed_noise_scale(
    squares: Sequence[float | None], variances: Sequence[float | None], horizon: float
) -> list[float | None]:
    """Return the noise scale tr(Sigma) / |G|^2, in samples, at each measurement (arXiv 1812.06162, section 2.2).

    A single pair of estimates says next to nothing, and the ratio of two noisy numbers is biased: so numerator and
    denominator are averaged first, each by an exponential average that forgets within about `horizon` measurements,
    started without bias towards zero.

    Args:
        squares: unbiased estimates of |G|^2, the squared norm of the true gradient; None where nothing was measured.
        variances: unbiased estimates of tr(Sigma), the summed variance of one sample's gradient; as many.
        horizon: measurements that the averages look back on, at least 1.

    Returns:
        The noise scale at each measurement; None where nothing was measured or the averaged |G|^2 is not above 0.

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
        # Both averages lack the same factor 1 - keep^t, which their ratio does not see.
        square, variance = keep * square + (1 - keep) * new[0], keep * variance + (1 - keep) * new[1]
        scales.append(variance / square if square > 0 and variance >= 0 else None)
    return scales


def _finite_pair(square: float | None, variance: float | None) -> tuple[float, float] | None:
    if square is None or variance is None or not (math.isfinite(square) and math.isfinite(variance)):
        return None
    return square, variance
