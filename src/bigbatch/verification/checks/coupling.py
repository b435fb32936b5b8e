"""No sample of a worker's batch influences another, except through batch normalisation."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.subject import Batch, Subject
from bigbatch.verification.trace import Call, Rows, describe_module, fingerprints, first_difference, traced

NAME: Final = "coupling"
CHANGES: Final[tuple[Callable[[Tensor], Tensor], ...]] = (
    lambda sample: 10 * sample + 10,
    lambda sample: -10 * sample - 10,
    torch.zeros_like,
)
BatchNorms: Final = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - no public base class


def check_coupling(subject: Subject) -> Check:
    """Change one sample, and see whether the outputs or losses of the others change.

    Batch normalisation over a worker's batch is right (arXiv 1706.02677, section 2.3). Here it runs on its running
    statistics, so only other couplings are seen. What couples the samples makes n a part of the loss.
    """
    count = subject.recipe.worker_minibatch_size
    norms = sum(isinstance(module, BatchNorms) for module in subject.model.modules())
    if count == 1:
        return passed(NAME, "a worker has one sample: there is nothing to couple")
    calls, losses = _observe(subject, subject.batch, count)
    if _observe(subject, subject.batch, count) != (calls, losses):
        return failed(NAME, "it cannot be told: the same samples give other outputs when they are run again")
    for changed, others in ((0, slice(1, None)), (count - 1, slice(0, count - 1))):
        for change in CHANGES:
            other_calls, other_losses = _observe(subject, _change_batch(subject, changed, change), count)
            if _differs(calls[-1].outputs, other_calls[-1].outputs, others, count):
                name = first_difference(calls, other_calls, samples=others) or ""
                where = describe_module(subject.model, name)
                return failed(NAME, f"{where} couples the samples: changing sample {changed} changes another's output")
            if _differs(losses, other_losses, others, count):
                return failed(NAME, f"the loss couples the samples: changing sample {changed} changes another's loss")
    return passed(
        NAME, f"changing a sample leaves the others as they are; {norms} batch normalisations stay in a worker"
    )


@torch.no_grad()
def _observe(subject: Subject, batch: Batch, count: int) -> tuple[list[Call], tuple[Rows, ...]]:
    model = subject.copy()
    for module in model.modules():
        if isinstance(module, BatchNorms):
            module.eval()
    subject.seed()
    with traced(model, count) as calls:
        losses = subject.losses(model, batch)
    return calls, fingerprints(losses, count)


def _change_batch(subject: Subject, changed: int, change: Callable[[Tensor], Tensor]) -> Batch:
    """Return the subject's batch with one sample changed, its target only if it cannot be told from the inputs."""
    count, batch = subject.recipe.worker_minibatch_size, subject.batch
    if isinstance(batch, tuple | list) and len(batch) == 2:  # noqa: PLR2004 - (inputs, targets)
        return _change(batch[0], changed, change, count), batch[1]
    return _change(batch, changed, change, count)


def _change(inputs: Any, changed: int, change: Callable[[Tensor], Tensor], count: int) -> Any:  # noqa: ANN401 - any batch
    """Return the inputs with one sample changed; whole numbers, such as words, become those of its neighbour."""
    if isinstance(inputs, dict):
        return {key: _change(value, changed, change, count) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        if len(inputs) == count and isinstance(inputs[changed], Tensor) and inputs[changed].is_floating_point():
            return [change(value) if i == changed else value for i, value in enumerate(inputs)]  # of different sizes
        return [_change(value, changed, change, count) for value in inputs]
    if not isinstance(inputs, Tensor) or inputs.ndim == 0 or len(inputs) != count:
        return inputs
    result = inputs.clone()
    neighbour = inputs[1 if changed == 0 else changed - 1]
    result[changed] = change(inputs[changed]) if inputs.is_floating_point() else neighbour
    return result


def _differs(before: tuple[Rows, ...], after: tuple[Rows, ...], others: slice, count: int) -> bool:
    """Tell whether a tensor that has a part for each sample differs in the others' parts."""
    return any(
        a[others] != b[others] for a, b in zip(before, after, strict=True) if len(a) == count and len(b) == count
    )
