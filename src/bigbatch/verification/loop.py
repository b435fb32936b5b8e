"""A training loop of the user's own, held against a plain one that is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.keyed_random import fold
from bigbatch.optim import build_optimizer, correct_momentum, set_learning_rate
from bigbatch.seeding import seed_generators
from bigbatch.step import LossFunction
from bigbatch.user_code import call_user_code
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.gradient import flat_gradient, flat_parameters, ratio, relative_difference
from bigbatch.verification.subject import Minibatch, Subject

Loop = Callable[[nn.Module, LossFunction, torch.optim.Optimizer, Sequence[Minibatch], Sequence[float]], object]

DECAY: Final = 0.1  # lambda while decay is measured: large enough to stand out from float32's rounding
RATE_FACTORS: Final = (1.0, 1.0, 1.0, 0.1, 0.1, 0.5, 0.5)  # of the reference rate, while momentum is measured
TOLERANCE: Final = 1e-2  # float32 over some updates; the wrong variants are off by k, or by the ratio of the rates


@dataclass(frozen=True)
class LoopRun:
    """What a loop did to the model.

    Attributes:
        update: the weights after it, minus those before.
        push: at the first `optimizer.step()`, the rate times the gradient; None if it was never called.
        rate: then; 0 if it was never called.
    """

    update: Tensor
    push: Tensor | None
    rate: float


def check_loop(subject: Subject, name: str) -> list[Check]:
    """Check precautions 1 to 3 on the user's loop.

    It is called several times as `loop(model, loss_function, optimizer, minibatches, learning_rates)`, and trains the
    model with the optimizer, one update a minibatch. `minibatches` has one item an iteration: a list of the k workers'
    blocks, each (inputs, targets) of n samples, what each process of a plain DDP loop would have read.
    `learning_rates` has the rate of each iteration. `loss_function(model(inputs), targets)` is the recipe's loss, one
    a sample; a loop may have its own instead. Momentum, which is not Nesterov's here, and weight decay are those of
    the optimizer; what a loop keeps by hand it reads in `optimizer.param_groups`.

    A loop is right if it does what this one does:

        for minibatch, rate in zip(minibatches, learning_rates):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            num_samples = sum(len(targets) for _, targets in minibatch)
            for inputs, targets in minibatch:
                (loss_function(model(inputs), targets).sum() / num_samples).backward()
            optimizer.step()

    Raises:
        InputError: the loop does not take these arguments.
    """

    def loop(*arguments: Any) -> None:  # noqa: ANN401 - see Loop
        call_user_code(name, *arguments)

    return [_check_normalisation(subject, loop), _check_weight_decay(subject, loop), _check_momentum(subject, loop)]


def _check_normalisation(subject: Subject, loop: Loop) -> Check:
    found, right = (run_loop(subject, each, decay=0.0, num_iterations=1) for each in (loop, plain_loop(subject)))
    k = subject.worker_count
    wrong = _wrong_factor(found.update, right.update)
    if wrong is None and found.push is not None and right.push is not None:
        wrong = _wrong_factor(found.push, right.push)
    difference = relative_difference(found.update, right.update)
    numbers = f"relative difference of the first update {difference:.1e}, {k} workers"
    if wrong is None:
        return passed("loop: normalisation", f"rate times gradient is that of the mean over the minibatch: {numbers}")
    if _near(wrong, k):
        reason = f"the gradient is k = {k} times too large: the workers' means are summed; divide by kn, or by k"
    elif _near(wrong, k * subject.recipe.worker_minibatch_size):
        reason = f"the gradient is kn = {wrong:.4g} times too large: the workers' losses are summed; divide by kn"
    elif not found.update.norm():
        reason = "the loop leaves the weights as they are"
    elif wrong:
        reason = f"the first update is {wrong:.4g} times that of the minibatch's mean loss"
    else:
        reason = "the first update has another direction than the minibatch's mean loss gives: other samples or losses"
    return failed("loop: normalisation", f"{reason}; {numbers}")


def _check_weight_decay(subject: Subject, loop: Loop) -> Check:
    """Take the difference between a first update with decay and one without."""
    runs = [
        [run_loop(subject, each, decay=decay, num_iterations=1) for decay in (DECAY, 0.0)]
        for each in (loop, plain_loop(subject))
    ]
    found, right = (with_decay.update - without.update for with_decay, without in runs)
    asked, used, k = subject.recipe.reference.learning_rate, runs[0][0].rate, subject.worker_count
    if not right.norm():
        return passed("loop: weight decay", "the optimizer does not decay")
    factor, difference = ratio(found, right), relative_difference(found, right)
    numbers = f"decay is {factor:.4g} of rate * lambda * w"
    if difference <= TOLERANCE:
        return passed("loop: weight decay", f"{numbers}, relative difference {difference:.1e}")
    if _near(factor, 1 / k):
        reason = f"k = {k} was cancelled by keeping the small rate with 1/n: divide the loss by kn, and use the rate"
    elif used and not _near(used, asked):
        reason = f"it steps at rate {used:.4g} when {asked:.4g} was asked for, and decay follows the optimizer's rate"
    elif abs(factor) <= TOLERANCE:
        reason = "it does not follow the weight_decay in optimizer.param_groups"
    else:
        reason = "decay must not depend on how the loss is scaled"
    return failed("loop: weight decay", f"{numbers}: {reason} (eq. 8)")


def _check_momentum(subject: Subject, loop: Loop) -> Check:
    """Train over a changing rate; a gradient of the wrong size, which has a check of its own, is allowed for."""
    first, right_first = (run_loop(subject, each, decay=0.0, num_iterations=1) for each in (loop, plain_loop(subject)))
    scale = _wrong_factor(first.update, right_first.update)
    if scale == 0:
        return failed("loop: momentum", "it cannot be told from updates whose first has a wrong direction already")
    count = len(RATE_FACTORS)
    found = run_loop(subject, loop, decay=0.0, num_iterations=count).update
    right = run_loop(subject, plain_loop(subject, scale=scale or 1.0), decay=0.0, num_iterations=count).update
    difference = relative_difference(found, right)
    numbers = (
        f"relative difference {difference:.1e} after {count} updates at rates between 0.1 and 1 of the reference's"
    )
    if difference <= TOLERANCE:
        return passed("loop: momentum", f"u' = m*u + g, w' = w - rate*u' (eq. 9): {numbers}")
    for reason, wrong in WRONG_MOMENTA.items():
        variant = run_loop(
            subject, plain_loop(subject, scale=scale or 1.0, before_step=wrong), decay=0.0, num_iterations=count
        )
        if relative_difference(found, variant.update) <= TOLERANCE:
            return failed("loop: momentum", f"{reason}: {numbers}")
    return failed("loop: momentum", f"its updates are not those of eq. 9 while the rate changes: {numbers}")


def run_loop(subject: Subject, loop: Loop, *, decay: float, num_iterations: int) -> LoopRun:
    """Run a loop on a copy of the model, without dropout: its masks are the loop's own affair."""
    # Without Nesterov's variant, so that a loop that keeps momentum by hand can be simple.
    recipe = replace(subject.recipe.optimizer, weight_decay=decay, nesterov=False)
    rates = [subject.recipe.reference.learning_rate * factor for factor in RATE_FACTORS[:num_iterations]]
    model = subject.copy()
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):  # noqa: SLF001 - no public base class
            module.p = 0.0
    optimizer = build_optimizer(recipe, model, rates[0])
    if recipe.momentum_correction:
        correct_momentum(optimizer, is_requested=True)
    pushes: list[tuple[float, Tensor]] = []

    def note(*_: Any) -> None:  # noqa: ANN401 - what torch hands to a hook
        if not pushes:
            pushes.append((optimizer.param_groups[0]["lr"], flat_gradient(model)))

    optimizer.register_step_pre_hook(note)
    before = flat_parameters(model)
    seed_generators(fold("loop", subject.recipe.seed), subject.device)
    loop(model, subject.loss_function, optimizer, subject.minibatches(num_iterations), rates)
    rate, gradient = pushes[0] if pushes else (0.0, None)
    return LoopRun(flat_parameters(model) - before, None if gradient is None else rate * gradient, rate)


BeforeStep = Callable[[torch.optim.Optimizer, float, float], None]


def plain_loop(subject: Subject, *, scale: float = 1.0, before_step: BeforeStep | None = None) -> Loop:
    """Return the loop that is right, or a variant: with a scaled loss, or something done before each update."""

    def loop(
        model: nn.Module,
        loss_function: LossFunction,
        optimizer: torch.optim.Optimizer,
        minibatches: Sequence[Minibatch],
        learning_rates: Sequence[float],
    ) -> None:
        last = learning_rates[0]
        for minibatch, rate in zip(minibatches, learning_rates, strict=True):
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad()
            for inputs, targets in minibatch:
                loss = loss_function(model(inputs), targets).sum() / subject.minibatch_size
                (scale * loss).backward()  # type: ignore[no-untyped-call]
            if before_step:
                before_step(optimizer, rate, last)
            optimizer.step()
            last = rate

    return loop


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


def _wrong_factor(vector: Tensor, right: Tensor) -> float | None:
    """Return None if the vectors agree, the factor between them if there is one, 0 if their directions differ."""
    if relative_difference(vector, right) <= TOLERANCE:
        return None
    factor = ratio(vector, right)
    return factor if relative_difference(vector, factor * right) <= TOLERANCE else 0.0


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) <= TOLERANCE * expected
