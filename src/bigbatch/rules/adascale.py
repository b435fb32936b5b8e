"""AdaScale SGD (Johnson et al. 2020, arXiv 2007.05105): scale the rate by what a larger minibatch is worth now.

A minibatch S times as large divides the gradient's variance by S. If gradients are mostly noise, its update is worth S
steps of the reference; if they are mostly signal, it is worth one. The gain r of an update, from 1 to S, says how many.
"""

from typing import Final

from bigbatch.rules.gradient_noise import GradientNoise

ADASCALE: Final = "adascale"


def gain(noise: GradientNoise, *, minibatch_size: int, reference: int) -> float:
    """Return how many steps of the reference one step of the minibatch is worth (arXiv 2007.05105, eq. 4).

    r = (sigma^2 + mu^2) / (sigma^2 / S + mu^2), with mu^2 = |G|^2, S = minibatch_size / reference, and sigma^2 the
    variance of a gradient of the *reference* minibatch, tr(Sigma) / reference. The rate is r times the reference's, and
    the update counts as r iterations of the reference.

    Args:
        noise: running averages of signal and noise; a value that is negative by chance counts as 0.
        minibatch_size: samples per update (kn), at least `reference`.
        reference: the minibatch size of the reference.

    >>> gain(GradientNoise(square=0.0, variance=1.0), minibatch_size=1024, reference=64)  # all noise: as linear scaling
    16.0
    >>> gain(GradientNoise(square=1.0, variance=0.0), minibatch_size=1024, reference=64)  # all signal: no gain
    1.0
    >>> gain(GradientNoise(square=1.0, variance=64.0), minibatch_size=1024, reference=64)
    1.8823529411764706
    """
    square, variance = max(noise.square, 0.0), max(noise.variance, 0.0) / reference
    if not square + variance:
        return 1.0
    return (variance + square) / (variance * reference / minibatch_size + square)
