"""Precaution 1 for layer-wise optimizers (LARS, LAMB): the right lambda * w is added, before the layer's own rate."""

from typing import Final

from bigbatch.recipe import Optimizer
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.scratch import first_move, moves

RATE: Final = 0.125
GRADIENTS: Final = (1.0, 30.0, 1e3)
TOLERANCE: Final = 1e-4  # Adam's epsilon stands beside the gradient


def is_layerwise(recipe: Optimizer) -> bool:
    """Tell, by what it does, whether an optimizer's update is as long as the weights: twice for twice the weight."""
    once, twice = (moves(recipe, [RATE], [1.0], start=start)[0] for start in (1.0, 2.0))
    return bool(once) and _near(twice, 2 * once)


def check_layerwise_decay(name: str, recipe: Optimizer) -> Check:
    """Compare what an update takes off along the weights with what it takes off along a gradient across them.

    The layer's own rate is in both, and cancels. It follows the gradient's length, and decay follows it. Such an
    optimizer is made for that, so this check does not judge it.
    """
    for beside in ("the gradient", "Adam's direction"):
        found = [_coefficient(recipe, gradient, is_of_gradient=beside == "the gradient") for gradient in GRADIENTS]
        expected = found[0] if recipe.decay is None else recipe.decay
        if all(_near(value, expected) for value in found):
            return passed(
                name,
                f"layer-wise: lambda is {expected:g}, and {found[0]:.4g} * w is added to {beside}, before the layer's "
                "own rate. That rate scales decay too, by design, so nothing more is checked",
            )
    beside = f"{_coefficient(recipe, 1.0, is_of_gradient=True):.4g} * w beside a gradient of 1"
    return failed(name, f"the optimizer is layer-wise, and does not decay by lambda = {expected:g}: {beside}")


def _coefficient(recipe: Optimizer, gradient: float, *, is_of_gradient: bool) -> float:
    along_weight, along_gradient = first_move(recipe, [1.0, 0.0], [0.0, gradient], rate=RATE)
    return along_weight / along_gradient * (gradient if is_of_gradient else 1.0)


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) <= TOLERANCE * abs(expected)
