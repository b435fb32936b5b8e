"""A training loop of the user's own, compared with a plain one that is right."""

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from bigbatch.user_code import call_user_code
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.gradient import flat_parameters, ratio, relative_difference
from bigbatch.verification.loop_run import MOST_UPDATES, WRONG_MOMENTA, Loop, LoopRun, plain_loop, run_loop
from bigbatch.verification.subject import Subject

DECAY: Final = 0.1  # lambda while decay is measured: large enough to stand out from float32's rounding
TOLERANCE: Final = 1e-2  # float32 over some updates; the wrong variants are off by k, or by the ratio of the rates


def check_loop(subject: Subject, name: str) -> list[Check]:
    """Check precautions 1 to 3 on the user's loop.

    It is called several times as `loop(model, loss_function, optimizer, minibatches, learning_rates)`, and trains the
    model with the optimizer, one update a minibatch. `minibatches` has one item an iteration: a list of the k workers'
    batches. Each batch is (inputs, targets) of n samples, as a process of a plain DDP loop would have read it.
    `learning_rates` has the rate of each iteration. `loss_function(model(inputs), targets)` is the recipe's loss, one
    a sample; a loop may have its own instead. Momentum and weight decay are those of the optimizer, without Nesterov's
    variant. A loop that keeps them by hand reads them in `optimizer.param_groups`.

    A loop is right if it does what this one does:

        for minibatch, rate in zip(minibatches, learning_rates):
            bigbatch.set_learning_rate(optimizer, rate)
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

    first = run_loop(subject, loop, num_iterations=1)
    right = run_loop(subject, plain_loop(subject), num_iterations=1)
    return [
        _check_randomness(subject, loop, first, right),
        *([_check_rates(run_loop(subject, loop))] if len(set(first.ratios)) > 1 else []),
        _check_normalisation(subject, first, right),
        _check_weight_decay(subject, loop, first, right),
        _check_momentum(subject, loop, _wrong_factor(subject, first.update, right.update)),
    ]


def _check_randomness(subject: Subject, loop: Loop, first: LoopRun, right: LoopRun) -> Check:
    """Run the first update again from other generators: without dropout, a loop has nothing to draw."""
    again = run_loop(subject, loop, num_iterations=1, seed=1)
    if relative_difference(first.update, again.update) == 0:
        return passed("loop: randomness", "from another seed the first update has the same bits")
    if relative_difference(right.update, run_loop(subject, plain_loop(subject), num_iterations=1, seed=1).update):
        return passed("loop: randomness", "the model draws by itself, so it cannot be told what the loop draws")
    return failed(
        "loop: randomness",
        "it draws random numbers between reading and stepping, which depend on processes and readers: draw them in "
        "Minibatches(transform=...), which is given a generator of its own",
    )


def _check_rates(found: LoopRun) -> Check:
    """Compare the rates of the parameter groups with their ratios."""
    name, ratios = "loop: rates of the groups", _numbers(found.ratios)
    if not found.rates:
        return failed(name, f"the loop never steps the optimizer, whose groups have rates in the ratio {ratios}")
    rates = next((rates for rates in found.rates if not _have_ratios(rates, found.ratios)), None)
    if rates is None:
        return passed(name, f"they keep their ratio {ratios}")
    return failed(
        name,
        f"the loop overwrites them: {_numbers(rates)} where the ratio is {ratios}; set each group's rate times its "
        f"lr_scale, as bigbatch.set_learning_rate(optimizer, rate) does",
    )


def _have_ratios(rates: Sequence[float], ratios: Sequence[float]) -> bool:
    base = next((rate / ratio for rate, ratio in zip(rates, ratios, strict=True) if ratio), 0.0)
    return all(_near(rate, base * ratio) for rate, ratio in zip(rates, ratios, strict=True))


def _numbers(values: Sequence[float]) -> str:
    return " : ".join(f"{value:g}" for value in values)


def _check_normalisation(subject: Subject, found: LoopRun, right: LoopRun) -> Check:
    k = subject.worker_count
    wrong = _wrong_factor(subject, found.update, right.update)
    if wrong is None and found.push is not None and right.push is not None:
        wrong = _wrong_factor(subject, found.push, right.push)  # Adam's update would not show it
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
        reason = (
            "the first update has another direction than the minibatch's mean loss gives: other samples or losses, or "
            "each worker is divided by a count of its own"
        )
    return failed("loop: normalisation", f"{reason}; {numbers}")


def _check_weight_decay(subject: Subject, loop: Loop, first: LoopRun, right_first: LoopRun) -> Check:
    """Take the difference between a first update with decay and one without."""
    found = run_loop(subject, loop, decay=DECAY, num_iterations=1).update - first.update
    right = run_loop(subject, plain_loop(subject), decay=DECAY, num_iterations=1).update - right_first.update
    if not right.norm():
        return passed("loop: weight decay", "the optimizer does not decay")
    asked, used, k = subject.recipe.reference.learning_rate, first.rate, subject.worker_count
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


def _check_momentum(subject: Subject, loop: Loop, scale: float | None) -> Check:
    """Train over a changing rate; a gradient of the wrong size, which has a check of its own, is allowed for."""
    if scale == 0:
        return failed("loop: momentum", "it cannot be told from updates whose first has a wrong direction already")
    found = _without_decay(subject, run_loop(subject, loop).update)

    def distance_to(plain: Loop) -> float:
        return relative_difference(found, _without_decay(subject, run_loop(subject, plain).update))

    difference = distance_to(plain_loop(subject, scale=scale or 1.0))
    numbers = f"relative difference {difference:.1e} after {MOST_UPDATES} updates at rates that change by up to 10"
    if difference <= TOLERANCE:
        return passed("loop: momentum", f"u' = m*u + g, w' = w - rate*u' (eq. 9): {numbers}")
    for reason, wrong in WRONG_MOMENTA.items():
        if distance_to(plain_loop(subject, scale=scale or 1.0, before_step=wrong)) <= TOLERANCE:
            return failed("loop: momentum", f"{reason}: {numbers}")
    return failed("loop: momentum", f"its updates are not those of eq. 9 while the rate changes: {numbers}")


def _wrong_factor(subject: Subject, vector: Tensor, right: Tensor) -> float | None:
    """Return None if the vectors agree, the factor between them if there is one, 0 if their directions differ."""
    vector, right = _without_decay(subject, vector), _without_decay(subject, right)
    if relative_difference(vector, right) <= TOLERANCE:
        return None
    factor = ratio(vector, right)
    return factor if relative_difference(vector, factor * right) <= TOLERANCE else 0.0


def _without_decay(subject: Subject, update: Tensor) -> Tensor:
    """Return the part of an update that no decay can have made: a loop may have a decay of its own, checked apart."""
    weights = flat_parameters(subject.model)
    return update - ratio(update, weights) * weights


def _near(value: float, expected: float) -> bool:
    return abs(value - expected) <= TOLERANCE * expected
