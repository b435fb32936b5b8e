"""How the learning rate follows the minibatch size: scaling rules, as pure functions (arXiv 1706.02677, section 2)."""

import math
from collections.abc import Callable
from typing import Final

from bigbatch.rules.adascale import ADASCALE

ScalingRule = Callable[..., float]


def linear_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Multiply the rate by k when the minibatch size is multiplied by k (arXiv 1706.02677, section 2.1).

    Args:
        learning_rate: the reference rate eta, trusted at `reference`.
        minibatch_size: samples per update, over all workers (kn).
        reference: the minibatch size that `learning_rate` belongs to.

    >>> linear_scaling(0.1, minibatch_size=8192, reference=256)
    3.2
    """
    return learning_rate * minibatch_size / reference


def square_root_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Multiply the rate by sqrt(k): keeps the variance of an update (Krizhevsky 2014, arXiv 1404.5997, section 5).

    >>> round(square_root_scaling(0.1, minibatch_size=8192, reference=256), 4)
    0.5657
    """
    return learning_rate * math.sqrt(minibatch_size / reference)


def no_scaling(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Keep the reference rate: the paper's control, 41.67 % error at 8k (arXiv 1706.02677, table 2).

    >>> no_scaling(0.1, minibatch_size=8192, reference=256)
    0.1
    """
    del minibatch_size, reference
    return learning_rate


def adascale(learning_rate: float, *, minibatch_size: int, reference: int) -> float:
    """Keep the reference rate; each iteration multiplies it by a gain that its gradients tell (`adascale.py`).

    >>> adascale(0.1, minibatch_size=8192, reference=256)
    0.1
    """
    del minibatch_size, reference
    return learning_rate


SCALING_RULES: Final[dict[str, ScalingRule]] = {
    "linear": linear_scaling,
    "square-root": square_root_scaling,
    "none": no_scaling,
    ADASCALE: adascale,
}
SCALING_SOURCES: Final = {
    "linear": "linear scaling rule, arXiv 1706.02677, section 2.1",
    "square-root": "square-root rule, Krizhevsky 2014, arXiv 1404.5997",
    "none": "rate not scaled, the control of arXiv 1706.02677, table 2",
    ADASCALE: "AdaScale, arXiv 2007.05105: the reference rate times each iteration's gain, 1 to kn / reference",
}
