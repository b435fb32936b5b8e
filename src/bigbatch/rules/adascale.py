"""AdaScale SGD (Johnson et al. 2020, arXiv 2007.05105): scale the rate by what a larger minibatch is worth now.

S times the minibatch divides the gradient's variance by S. Where gradients are mostly noise, that is worth S steps of
the reference; where they are mostly signal, one. The gain r, between 1 and S, says how many, iteration by iteration.
"""

from typing import Final

from bigbatch.rules.gradient_noise import GradientNoise

ADASCALE: Final = "adascale"


def gain(noise: GradientNoise, *, minibatch_size: int, reference: int) -> float:
    """Return how many steps of the reference one step of the minibatch is worth (arXiv 2007.05105, eq. 4).

    r = (sigma^2 + mu^2) / (sigma^2 / S + mu^2), with mu^2 = |G|^2, S = minibatch_size / reference, and sigma^2 the
    variance of a gradient of the *reference* minibatch, tr(Sigma) / reference. The rate is r times the reference's, and
    the training has come r iterations of the reference further.

    Args:
        noise: running averages of signal and noise; what is negative by chance counts as 0.
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
