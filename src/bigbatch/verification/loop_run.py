"""Running a training loop on a copy of the model: the user's own, the plain one that is right, and wrong variants."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.optim.absorbed_rate import correct_momentum
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.learning_rate import RATIO, current_rate, note_ratios, set_learning_rate
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from bigbatch.step.objective import LossFunction, Objective
from bigbatch.verification.gradient import flat_gradient, flat_parameters
from bigbatch.verification.subject import Minibatch, Subject

Loop = Callable[
    [nn.Module, LossFunction | Objective, torch.optim.Optimizer, Sequence[Minibatch], Sequence[float]], object
]
BeforeStep = Callable[[torch.optim.Optimizer, float, float], None]

RATE_FACTORS: Final = (1.0, 1.0, 1.0, 0.1, 0.1, 0.5, 0.5)  # of the reference rate
MOST_UPDATES: Final = len(RATE_FACTORS)


@dataclass(frozen=True)
class LoopRun:
    """What a loop did to the model.

    Attributes:
        update: the weights after it, minus those before.
        push: at the first `optimizer.step()`, the rate times the gradient; None if it was never called.
        rate: then; 0 if it was never called.
        ratios: of the parameter groups' rates, as the recipe's optimizer has them.
        rates: of the parameter groups at each `optimizer.step()`.
    """

    update: Tensor
    push: Tensor | None
    rate: float
    ratios: tuple[float, ...]
    rates: tuple[tuple[float, ...], ...]


def run_loop(
    subject: Subject, loop: Loop, *, decay: float = 0.0, num_iterations: int = MOST_UPDATES, seed: int = 0
) -> LoopRun:
    """Run a loop on a copy of the model, without dropout: its masks are the loop's own affair.

    Args:
        subject: whose model, objective and data it gets.
        loop: the user's, or a plain one.
        decay: the weight decay, lambda.
        num_iterations: updates.
        seed: of the generators at its start.
    """
    # Without Nesterov's variant: a loop that keeps momentum by hand can then be simple.
    recipe = replace(subject.recipe.scaled_optimizer, nesterov=False)
    if decay or recipe.decay is not None:
        recipe = replace(recipe, weight_decay=decay)
    rates = [subject.recipe.reference.learning_rate * factor for factor in RATE_FACTORS[:num_iterations]]
    model = subject.copy()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - no public base class
            module.p = 0.0
    optimizer = build_optimizer(recipe, model, rates[0])
    if recipe.momentum_correction:
        correct_momentum(optimizer, is_requested=True)
    note_ratios(optimizer)
    ratios = tuple(group[RATIO] for group in optimizer.param_groups)
    pushes: list[tuple[float, Tensor]] = []
    found: list[tuple[float, ...]] = []

    def note(*_: Any) -> None:  # noqa: ANN401 - what torch hands to a hook
        if not pushes:
            pushes.append((current_rate(optimizer), flat_gradient(model)))
        found.append(tuple(float(group["lr"]) for group in optimizer.param_groups))

    optimizer.register_step_pre_hook(note)
    before = flat_parameters(model)
    minibatches = subject.minibatches(num_iterations)
    seed_generators(random_key("loop", subject.recipe.seed, seed), subject.device)  # reading them has seeded them, too
    loop(model, subject.objective, optimizer, minibatches, rates)
    rate, gradient = pushes[0] if pushes else (0.0, None)
    push = None if gradient is None else rate * gradient
    return LoopRun(flat_parameters(model) - before, push, rate, ratios, tuple(found))


def plain_loop(subject: Subject, *, scale: float = 1.0, before_step: BeforeStep | None = None) -> Loop:
    """Return the loop that is right, or a variant: with a scaled loss, or something done before each update."""

    def loop(
        model: nn.Module,
        _objective: LossFunction | Objective,
        optimizer: torch.optim.Optimizer,
        minibatches: Sequence[Minibatch],
        learning_rates: Sequence[float],
    ) -> None:
        last = learning_rates[0]
        for minibatch, rate in zip(minibatches, learning_rates, strict=True):
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad()
            weight = 0.0
            for batch in minibatch:
                loss = subject.loss(model, batch, precision="float32")
                weight += float(loss.weight)
                (scale * loss.total).backward()  # type: ignore[no-untyped-call]
            divide_gradient(model, weight)
            if before_step:
                before_step(optimizer, rate, last)
            optimizer.step()
            last = rate

    return loop


@torch.no_grad()
def divide_gradient(model: nn.Module, weight: float) -> None:
    """Divide the gradient of every parameter that has one."""
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad.div_(weight)


@torch.no_grad()
def _correct_anyway(optimizer: torch.optim.Optimizer, rate: float, last: float) -> None:
    for state in optimizer.state.values():
        if "momentum_buffer" in state:
            state["momentum_buffer"].mul_(rate / last)


@torch.no_grad()
def _absorb(optimizer: torch.optim.Optimizer, rate: float, _last: float) -> None:
    set_learning_rate(optimizer, 1.0)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                parameter.grad.mul_(rate)


WRONG_MOMENTA: Final[dict[str, BeforeStep]] = {
    "it corrects momentum by the ratio of the rates, though torch's momentum is free of them (eq. 9)": _correct_anyway,
    "it absorbs the rate into its momentum (eq. 10) and does not correct it when the rate changes": _absorb,
}
