"""Precaution 1: weight decay takes rate * lambda * w off a weight, for any loss (arXiv 1706.02677, eq. 8)."""

import math
from collections.abc import Sequence
from typing import Final

from bigbatch.optim.build import build_optimizer
from bigbatch.optim.decay import in_short, parts_of
from bigbatch.optim.inner_optimizers import parameters_of
from bigbatch.optim.probe import try_updates
from bigbatch.recipe import Optimizer
from bigbatch.step.objective import Loss, Objective
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.checks.layerwise_decay import check_layerwise_decay, is_layerwise
from bigbatch.verification.scratch import moves, needs_model
from bigbatch.verification.subject import Subject

NAME: Final = "weight decay"
RATE: Final = 0.125
WEIGHT: Final = 1.0
TOLERANCE: Final = 1e-6
MOST_NAMES: Final = 12


def check_weight_decay(subject: Subject) -> Check:
    """Look for a penalty in the loss, then measure what the optimizer takes off a weight for its size alone."""
    if has_penalty(subject):
        return failed(
            NAME,
            "the loss has a term that does not come through the model's output, such as L2 of the weights: it is "
            "scaled with the loss, not with the rate alone; use the optimizer's weight_decay",
        )
    recipe = subject.recipe.scaled_optimizer
    if needs_model(recipe):
        check = passed(NAME, "the optimizer is built for the whole model, so no number is measured")
    else:
        check = check_optimizer_decay(recipe)
    return _check_parameters(subject, check) if check.is_passed else check


def _check_parameters(subject: Subject, check: Check) -> Check:
    """Measure which of the model's own parameters decay, and compare them with the recipe's."""
    recipe, model = subject.recipe.scaled_optimizer, subject.copy()
    optimizer = build_optimizer(recipe, model, RATE)
    moved = try_updates(optimizer, [(WEIGHT, 0.0)], start=WEIGHT).moves[0]
    decaying = {id(p): bool(move) for p, move in zip(parameters_of(optimizer), moved, strict=True)}
    parts = [part for part in parts_of(model, recipe) if id(part.parameter) in decaying]
    do, do_not = ([part for part in parts if decaying[id(part.parameter)] == is_on] for is_on in (True, False))
    if recipe.decay is not None:
        if wrong := [part.name for part in do if not part.decays]:
            return failed(NAME, f"what the recipe leaves out decays: {_names(wrong)}")
        if recipe.decay and (wrong := [part.name for part in do_not if part.decays]):
            return failed(NAME, f"what the recipe says decays does not: {_names(wrong)}")
    kept = f"not {_names([part.name for part in do_not])}" if do_not else "all"
    listed = f"{len(do)} of {len(parts)} parameters decay, {kept}" if do else "no parameter decays"
    return passed(NAME, f"{check.text}; {listed}")


def _names(names: Sequence[str]) -> str:
    """List names in short."""
    short = in_short(names)
    rest = f" and {len(short) - MOST_NAMES} kinds more" if len(short) > MOST_NAMES else ""
    return ", ".join(short[:MOST_NAMES]) + rest


def check_optimizer_decay(recipe: Optimizer) -> Check:
    """Measure decay at two rates, and beside gradients of several sizes."""
    check = check_layerwise_decay(NAME, recipe) if is_layerwise(recipe) else _check_plain_decay(recipe)
    decays_biases = (
        recipe.decay is not None
        and not recipe.weight_decay_on_biases
        and not _close(decay(recipe, rate=RATE, name="bias"), 0.0, recipe.decay)
    )
    if check.is_passed and decays_biases:
        return failed(NAME, "the optimizer decays biases and normalisations too, which the recipe leaves out")
    return check


def _check_plain_decay(recipe: Optimizer) -> Check:
    at_rate, at_double_rate = decay(recipe, rate=RATE), decay(recipe, rate=2 * RATE)
    response = moves(recipe, [RATE], [1.0])[0] / RATE  # Nesterov's first update is (1 + m) times the gradient
    coefficient = at_rate / (RATE * WEIGHT)
    expected = coefficient if recipe.decay is None else recipe.decay
    said = "the recipe sets no lambda" if recipe.decay is None else f"lambda is {expected:g}"
    numbers = f"{said}, and {coefficient:.4g} * rate * w is taken off at first"
    if not _close(at_double_rate, 2 * at_rate, expected):
        change = at_double_rate / at_rate if at_rate else math.inf
        return failed(
            NAME, f"decay does not scale with the rate: {change:.3g} times as much at twice the rate; {numbers}"
        )
    for gradient in (1e-3, 1.0, 1e3):
        beside = decay(recipe, rate=RATE, gradient=gradient)
        if not _close(beside, at_rate, expected):
            change = beside / at_rate if at_rate else math.inf
            return failed(
                NAME,
                f"decay depends on the loss's scale: {change:.3g} times as much beside a gradient of {gradient:g}"
                f"{'; use adamw, whose decay does not' if recipe.name == 'adam' else ''}",
            )
    if not any(_close(coefficient, scale * expected, expected) for scale in (1.0, response)):
        return failed(NAME, f"the optimizer does not decay by the recipe's lambda: {numbers}")
    return passed(NAME, f"it scales with the rate and not with the loss: {numbers}")


def decay(recipe: Optimizer, *, rate: float, gradient: float = 0.0, name: str = "weight") -> float:
    """Return what the first update takes off a weight because it is not zero."""
    with_weight, without = (moves(recipe, [rate], [gradient], start=start, name=name)[0] for start in (WEIGHT, 0.0))
    return with_weight - without


def has_penalty(subject: Subject) -> bool:
    """Tell whether the loss has a gradient that does not come through the model's output; unknown of an objective."""
    if isinstance(subject.objective, Objective):
        return False
    found = subject.objective(subject.outputs(), subject.batch[1])
    return (found.total if isinstance(found, Loss) else found).requires_grad


def _close(value: float, expected: float, scale: float) -> bool:
    return abs(value - expected) <= TOLERANCE * max(abs(expected), RATE * scale) + 1e-12
