"""Precaution 2: an update is its own rate times momentum, free of earlier rates (arXiv 1706.02677, eq. 9, 10)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from bigbatch.optim.build import build_optimizer
from bigbatch.optim.probe import Absorbed, find_absorbed
from bigbatch.recipe import Optimizer
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.checks.layerwise_decay import is_layerwise
from bigbatch.verification.scratch import moves, needs_model, scratch_optimizer
from bigbatch.verification.subject import Subject

NAME: Final = "momentum"
RATES: Final = (0.1, 0.1, 0.1, 0.01, 0.01, 0.2, 0.2, 0.05)
GRADIENTS: Final = (1.0, 0.5, -0.25, 1.0, 0.75, -0.5, 1.0, 0.25)
TOLERANCE: Final = 1e-6
ABSORBS: Final = "it absorbs the rate into its momentum (eq. 10), uncorrected; set optimizer.momentum_correction=true"

Factor = Callable[[float, float], float]


def check_momentum(subject: Subject) -> Check:
    """Measure the optimizer of the recipe."""
    recipe = subject.recipe.scaled_optimizer
    if not needs_model(recipe):
        return check_optimizer_momentum(recipe)
    found = find_absorbed(build_optimizer(recipe, subject.copy(), RATES[0]))
    if found.uncorrectable or (found.state and not recipe.momentum_correction):
        return failed(NAME, ABSORBS)
    return passed(NAME, "no momentum of the whole model's optimizer has absorbed the rate, or it is corrected")


def check_optimizer_momentum(recipe: Optimizer) -> Check:
    """Step through a changing rate, and compare each update over its rate with that of a steady rate.

    The two are the same with momentum of form (9), which is torch's. They are the same with form (10) if it is
    corrected.
    """
    recipe = _without_decay(recipe)
    steady = [RATES[0]] * len(RATES)
    # A layer-wise update follows the weights, which follow the rates: so the weights are held still.
    held = is_layerwise(recipe)
    changing, expected = (_over_rates(recipe, rates, is_held=held) for rates in (RATES, steady))
    difference = distance(changing, expected)
    m = momentum_of(recipe)
    form = _name(changing, m)
    numbers = f"relative difference {difference:.1e} over rates from {min(RATES):g} to {max(RATES):g}"
    if difference <= TOLERANCE:
        corrected = ", with the correction of the recipe" if recipe.momentum_correction else ""
        return passed(NAME, f"{form or 'earlier rates do not enter an update'}{corrected}: {numbers}")
    reason = form or (ABSORBS if _absorbs(recipe) else "earlier rates enter an update while the rate changes")
    return failed(NAME, f"{reason}: {numbers}")


def _without_decay(recipe: Optimizer) -> Optimizer:
    return recipe if recipe.decay is None else replace(recipe, weight_decay=0.0)


def momentum_of(recipe: Optimizer) -> float | None:
    """Return the momentum m that the optimizer says it has; None if it does not say."""
    optimizer, _ = scratch_optimizer(recipe)
    value = optimizer.param_groups[0].get("momentum")
    return float(value) if value else None


def _absorbs(recipe: Optimizer) -> bool:
    optimizer, _ = scratch_optimizer(replace(recipe, momentum_correction=False))
    return find_absorbed(optimizer) != Absorbed()


def _over_rates(recipe: Optimizer, rates: Sequence[float], *, is_held: bool) -> list[float]:
    found = moves(recipe, rates, GRADIENTS, start=float(is_held), is_held=is_held)
    return [move / rate for move, rate in zip(found, rates, strict=True)]


def distance(moves_over_rates: Sequence[float], expected: Sequence[float]) -> float:
    """Return the largest difference, divided by the largest expected value."""
    scale = max(map(abs, expected)) or 1.0
    return max(abs(a - b) for a, b in zip(moves_over_rates, expected, strict=True)) / scale


def _name(moves_over_rates: Sequence[float], m: float | None) -> str | None:
    """Return in words the recursion that gives these updates."""
    if m is None:
        return None
    for words, factor in FORMS.items():
        for is_nesterov in (False, True):
            if distance(moves_over_rates, _recursion(factor, m, is_nesterov=is_nesterov)) <= TOLERANCE:
                return words
    return None


def _recursion(factor: Factor, m: float, *, is_nesterov: bool) -> list[float]:
    """Return the updates, over their rates, of u' = m * factor * u + g, w' = w - rate * u', or of Nesterov's."""
    u, last, found = 0.0, RATES[0], []
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        u, last = m * factor(rate, last) * u + gradient, rate
        found.append(gradient + m * u if is_nesterov else u)
    return found


# Each by what becomes of the momentum u = v / rate when the rate changes from `last` to `rate`.
FORMS: Final[dict[str, Factor]] = {
    "u' = m*u + g, w' = w - rate*u' (eq. 9)": lambda rate, last: 1.0,  # noqa: ARG005
    ABSORBS: lambda rate, last: last / rate,
    "it corrects momentum by the ratio of the rates, though its momentum is free of them (eq. 9)": (
        lambda rate, last: rate / last
    ),
}
