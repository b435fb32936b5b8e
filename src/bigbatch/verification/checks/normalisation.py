"""Precaution 3: the gradient is that of the minibatch's summed loss over what it counts (arXiv 1706.02677, section 3).

By samples that is kn, by count the number of tokens or pixels, by worker the number of workers.
"""

import math
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.step.objective import Loss, Objective
from bigbatch.step.step import Step
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.gradient import flat_gradient, ratio, relative_difference
from bigbatch.verification.samples import take
from bigbatch.verification.subject import Batch, Minibatch, Subject

NAME: Final = "normalisation"
SUM_TOLERANCE: Final = 1e-5  # of a sum of float32 losses
GRADIENT_TOLERANCE: Final = 1e-5  # of a sum of float32 gradients
OF_TWO_MODES: Final = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # noqa: SLF001 - no public names


def check_normalisation(subject: Subject) -> Check:
    """Compare the exact step's gradient with plain torch: the workers' totals over their weights, added in float64."""
    if reason := wrong_loss(subject):
        return failed(NAME, reason)
    minibatch = subject.minibatches(1)[0]
    reference = reference_gradient(subject, minibatch)
    if relative_difference(reference_gradient(subject, minibatch), reference):
        return failed(NAME, "it cannot be told: the gradient is another one when it is computed again")
    difference = relative_difference(exact_gradient(subject, minibatch), reference)
    k, n = subject.worker_count, subject.recipe.worker_minibatch_size
    kind, divisor = normalisation_of(subject, minibatch)
    wrong = ratio(_worker_gradients(subject, minibatch, sums_means=True), reference)
    numbers = f"relative difference {difference:.1e} over {k} workers of {n}; each worker divided alone: {wrong:.3g} x"
    if not difference <= GRADIENT_TOLERANCE:  # a NaN fails too
        return failed(NAME, f"the step's gradient is not that of the summed loss over {divisor}: {numbers}")
    return passed(NAME, f"{kind}, the gradient is that of the summed loss over {divisor}: {numbers}")


def normalisation_of(subject: Subject, minibatch: Minibatch) -> tuple[str, str]:
    """Return the normalisation that the objective has, and what it divides by."""
    if isinstance(subject.value(subject.copy(), subject.batch), Tensor):
        return "by samples", "kn"
    weights = [float(subject.loss(subject.copy(), batch).weight) for batch in minibatch]
    if all(weight == 1 for weight in weights):
        return "by worker", "k"
    return "by count", f"a count of {sum(weights):g}"


def reference_gradient(subject: Subject, minibatch: Minibatch) -> Tensor:
    """Return the gradient of a minibatch's mean loss, without anything of the exact step but its seeds."""
    return _worker_gradients(subject, minibatch)


def exact_gradient(subject: Subject, minibatch: Minibatch) -> Tensor:
    """Return the gradient that `Step` leaves.

    Raises:
        InputError: what `Step` refuses.
    """
    model = subject.copy()
    step = Step(
        model,
        subject.objective,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0),  # it takes no step
        minibatch_size=subject.minibatch_size,
        worker_minibatch_size=subject.recipe.worker_minibatch_size,
        seed=subject.recipe.seed_of("augmentation"),
        precision=subject.recipe.precision,
        buffers=subject.recipe.model.buffer_roles,
    )
    step.backward(minibatch, iteration=0)
    return flat_gradient(model)


def _worker_gradients(subject: Subject, minibatch: Minibatch, *, sums_means: bool = False) -> Tensor:
    """Return the sum of the totals' gradients over the sum of the weights; or each worker's mean, summed."""
    total, weights = torch.zeros((), dtype=torch.float64), 0.0
    for worker, batch in enumerate(minibatch):
        model: nn.Module = subject.copy()
        subject.seed(worker)
        loss = subject.loss(model, batch)
        if loss.total.requires_grad:
            loss.total.backward()  # type: ignore[no-untyped-call]
        weight = float(loss.weight)
        total = total + flat_gradient(model) / (weight or 1.0 if sums_means else 1.0)
        weights += weight
    return total if sums_means else total / (weights or 1.0)


@torch.no_grad()
def wrong_loss(subject: Subject) -> str | None:
    """Say why the objective's total does not belong to its weight, if so.

    A total by samples or by count is the sum over its samples, and so is its weight. A worker's own mean is not: it
    lies between those of its samples.
    """
    whole, parts = _whole_and_parts(subject)
    if whole is None:
        return None
    is_counted = isinstance(subject.value(subject.copy(), subject.batch), Loss)
    if is_counted and all(float(part.weight) == 1 for part in (whole, *parts)):
        return _wrong_mean(whole, parts)
    weight, weights = float(whole.weight), [float(part.weight) for part in parts]
    if is_counted and not _close(weight, sum(weights), sum(map(abs, weights))):
        return f"the weight is {weight:.6g} over a batch of {len(parts)}, but {sum(weights):.6g} over its samples"
    return _wrong_sum(whole, parts, way_out="return the sum" if is_counted else "return one loss a sample, undivided")


def _wrong_mean(whole: Loss, parts: list[Loss]) -> str | None:
    totals = [float(part.total) for part in parts]
    if len(parts) == 1 or not any(totals) or not _close(float(whole.total), sum(totals), sum(map(abs, totals))):
        return None
    return (
        f"the total is the sum over a worker's samples, but its weight is 1 ({_numbers(whole, parts)}): take the mean"
    )


def _wrong_sum(whole: Loss, parts: list[Loss], *, way_out: str) -> str | None:
    total, totals = float(whole.total), [float(part.total) for part in parts]
    if _close(total, sum(totals), sum(map(abs, totals))):
        return None
    if min(totals) <= total <= max(totals):
        return f"the loss takes the mean over a worker's samples ({_numbers(whole, parts)}): {way_out}"
    return (
        f"the loss is no sum over its samples ({_numbers(whole, parts)}): it couples them, or has a term that belongs "
        "to none"
    )


def _numbers(whole: Loss, parts: list[Loss]) -> str:
    alone = sum(float(part.total) for part in parts)
    return f"{float(whole.total):.6g} over a batch of {len(parts)}, {alone:.6g} over its samples one by one"


def _whole_and_parts(subject: Subject) -> tuple[Loss | None, list[Loss]]:
    """Return the loss of the first batch, and that of each of its samples; None where that cannot be told.

    A loss function is given parts of the model's outputs for the whole batch. An objective runs the model itself. A
    model that draws cannot be told.
    """
    if isinstance(subject.objective, Objective):
        model, batch = _uncoupled_model(subject), subject.batch

        def loss_of(batch: Batch, worker: int = 0) -> Loss:
            subject.seed(worker)
            return subject.loss(model, batch)

        if float(loss_of(batch).total) != float(loss_of(batch, worker=1).total):
            return None, []
        return _each(subject, loss_of, batch)
    outputs, targets = subject.outputs(), subject.batch[1]
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        return None, []
    loss_function = subject.objective
    return _each(subject, lambda batch: _as_loss(loss_function(*batch)), (outputs, targets))


def _uncoupled_model(subject: Subject) -> nn.Module:
    """Return a model in evaluation mode, where batch normalisation does not couple the samples, and nothing is drawn.

    A detector has losses in training mode alone, so there the normalisations and dropouts only are in evaluation mode.
    """
    model = subject.copy().eval()
    try:
        subject.loss(model, subject.batch)
    except InputError:
        model.train()
        for module in model.modules():
            if isinstance(module, OF_TWO_MODES):
                module.eval()
    return model


def _each(subject: Subject, loss_of: Callable[[Batch], Loss], batch: Batch) -> tuple[Loss, list[Loss]]:
    n = subject.recipe.worker_minibatch_size
    return loss_of(batch), [loss_of(take(batch, slice(sample, sample + 1), n)) for sample in range(n)]


def _as_loss(found: Tensor | Loss) -> Loss:
    return found if isinstance(found, Loss) else Loss(found.double().sum(), found.numel())


def _close(value: float, expected: float, scale: float) -> bool:
    return math.isclose(value, expected, rel_tol=0, abs_tol=SUM_TOLERANCE * scale)
