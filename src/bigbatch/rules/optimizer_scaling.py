"""How the settings of an optimizer follow the minibatch size, besides the learning rate; kappa is kn / reference.

Each rule keeps a time constant of the optimizer: counted in samples, it is the same at every minibatch size.
"""

import math
from fractions import Fraction

from bigbatch.errors import InputError


def square_root_beta(beta: float, *, minibatch_size: int, reference: int) -> float:
    """Return 1 - kappa * (1 - beta): it averages as many samples (Malladi et al. 2022, arXiv 2205.10287, def. 4.3).

    Raises:
        InputError: kappa * (1 - beta) is not below 1; names the largest minibatch size.

    >>> square_root_beta(0.9, minibatch_size=512, reference=256)
    0.8
    """
    if minibatch_size == reference:
        return beta
    scaled = 1 - Fraction(minibatch_size, reference) * _distance(beta)
    if minibatch_size > reference and scaled <= 0:
        msg = (
            f"the square-root rule allows beta = {beta:g} a minibatch size of at most "
            f"{largest_minibatch_size(beta, reference=reference)}, not {minibatch_size}: kappa * (1 - beta) must stay "
            "below 1 (arXiv 2205.10287); take a smaller one, a larger beta, or another scaling.rule"
        )
        raise InputError(msg)
    return float(scaled)


def largest_minibatch_size(beta: float, *, reference: int) -> int:
    """Return the largest minibatch size for which `square_root_beta` is above 0.

    >>> largest_minibatch_size(0.9, reference=256)
    2559
    """
    return max(reference, math.ceil(reference / _distance(beta)) - 1)


def _distance(beta: float) -> Fraction:
    """Return 1 - beta in decimal: 0.1 for 0.9, not 0.09999999999999998."""
    return 1 - Fraction(repr(beta))


def square_root_epsilon(epsilon: float, *, minibatch_size: int, reference: int) -> float:
    """Return epsilon / sqrt(kappa): it keeps its ratio to the gradient's noise (arXiv 2205.10287, definition 4.3).

    >>> square_root_epsilon(1e-8, minibatch_size=1024, reference=256)
    5e-09
    """
    return epsilon / math.sqrt(minibatch_size / reference)


def timescale_weight_decay(weight_decay: float, *, minibatch_size: int, reference: int, rate_ratio: float) -> float:
    """Keep the time of decay in epochs, tau = kn / (rate * lambda * samples) (Wang and Aitchison 2024, 2405.13698).

    The result is lambda * kappa / rate_ratio: lambda itself under the linear rule, lambda * sqrt(kappa) under the
    square-root rule, and lambda * kappa if the rate is not scaled.

    >>> timescale_weight_decay(0.01, minibatch_size=1024, reference=256, rate_ratio=2.0)
    0.02
    """
    return weight_decay * (minibatch_size / reference / rate_ratio)


def scale_average_decay(decay: float, *, minibatch_size: int, reference: int) -> float:
    """Return rho^kappa: it averages as many samples (Busbridge et al. 2023, arXiv 2307.13813, definition 1.2).

    >>> round(scale_average_decay(0.99, minibatch_size=512, reference=256), 6)
    0.9801
    """
    return decay if minibatch_size == reference else float(decay ** (minibatch_size / reference))
