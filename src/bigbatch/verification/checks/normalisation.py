"""Precaution 3: the gradient is that of the sum of the samples' losses over kn (arXiv 1706.02677, section 3)."""

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.step.preconditions import check_loss
from bigbatch.step.step import Step
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.gradient import flat_gradient, ratio, relative_difference
from bigbatch.verification.samples import take
from bigbatch.verification.subject import Minibatch, Subject

NAME: Final = "normalisation"
SUM_TOLERANCE: Final = 1e-5  # of a sum of float32 losses
GRADIENT_TOLERANCE: Final = 1e-5  # of a sum of float32 gradients


def check_normalisation(subject: Subject) -> Check:
    """Compare the exact step's gradient with plain torch: the workers' losses summed, over kn, added in float64."""
    if reason := _not_a_sum(subject):
        return failed(NAME, reason)
    minibatch = subject.minibatches(1)[0]
    reference = reference_gradient(subject, minibatch)
    if relative_difference(reference_gradient(subject, minibatch), reference):
        return failed(NAME, "it cannot be told: the gradient is another one when it is computed again")
    difference = relative_difference(exact_gradient(subject, minibatch), reference)
    k, n = subject.worker_count, subject.recipe.worker_minibatch_size
    wrong = ratio(_worker_gradients(subject, minibatch, divisor=n), reference)
    numbers = f"relative difference {difference:.1e} over {k} workers of {n}; 1/n instead of 1/kn: {wrong:.3g} x"
    if not difference <= GRADIENT_TOLERANCE:  # a NaN fails too
        return failed(NAME, f"the step's gradient is not that of the summed loss over kn: {numbers}")
    return passed(NAME, f"the gradient is that of the summed loss over kn: {numbers}")


def reference_gradient(subject: Subject, minibatch: Minibatch) -> Tensor:
    """Return the gradient of a minibatch's mean loss, without anything of the exact step but its seeds."""
    return _worker_gradients(subject, minibatch, divisor=subject.minibatch_size)


def exact_gradient(subject: Subject, minibatch: Minibatch) -> Tensor:
    """Return the gradient that `Step` leaves.

    Raises:
        InputError: what `Step` refuses.
    """
    model = subject.copy()
    step = Step(
        model,
        subject.loss_function,
        torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0),  # it takes no step
        minibatch_size=subject.minibatch_size,
        worker_minibatch_size=subject.recipe.worker_minibatch_size,
        seed=subject.recipe.seed_of("augmentation"),
        precision=subject.recipe.precision,
    )
    step.backward(minibatch, iteration=0)
    return flat_gradient(model)


def _worker_gradients(subject: Subject, minibatch: Minibatch, *, divisor: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for worker, batch in enumerate(minibatch):
        model: nn.Module = subject.copy()
        subject.seed(worker)
        (subject.losses(model, batch).sum() / divisor).backward()  # type: ignore[no-untyped-call]
        total = total + flat_gradient(model)
    return total


@torch.no_grad()
def _not_a_sum(subject: Subject) -> str | None:
    """Say why the loss of a batch is not the sum over its samples, if so.

    Raises:
        InputError: the loss is one number for a batch that cannot be cut into samples.
    """
    outputs, targets = subject.outputs(), subject.batch[1]
    if not (isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
        check_loss(subject.loss_function, outputs, targets)
    n = subject.recipe.worker_minibatch_size
    whole = _total(subject, outputs, targets)
    parts = [_total(subject, *take((outputs, targets), slice(sample, sample + 1))) for sample in range(n)]
    if math.isclose(whole, sum(parts), rel_tol=0, abs_tol=SUM_TOLERANCE * sum(map(abs, parts))):
        return None
    numbers = f"{whole:.6g} over a batch of {n}, {sum(parts):.6g} over its samples one by one"
    if min(parts) <= whole <= max(parts):
        return f"the loss takes the mean over a worker's samples ({numbers}): return one loss a sample, undivided"
    return f"the loss is no sum over its samples ({numbers}): it couples them, or has a term that belongs to none"


def _total(subject: Subject, outputs: Any, targets: Any) -> float:  # noqa: ANN401 - whatever the loss takes
    return float(subject.loss_function(outputs, targets).double().sum())
