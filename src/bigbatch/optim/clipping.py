"""Clipping by the norm of the whole gradient: the same bits for any number of processes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.optim.norms import squared_norms

EPSILON = 1e-6  # as in torch.nn.utils.clip_grad_norm_


@torch.no_grad()
def clip_gradients(model_or_parameters: nn.Module | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients down so that their common Euclidean norm is at most `max_norm`.

        factor = min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it

    For a loop of one's own: between `step.backward(minibatch)`, after which the gradients are those of the whole
    minibatch, and `optimizer.step()`. Norms are summed in float64, in an order that does not depend on where the
    gradients lie, so they have the same bits on any number of processes. Nothing waits for the device.

    Args:
        model_or_parameters: those without a gradient do not count.
        max_norm: above 0; infinity only measures.

    Returns:
        The norm before clipping, float64, on the device of the gradients.

    Raises:
        InputError: `max_norm` is not above 0, or a gradient is sparse.

    >>> weight = torch.nn.Parameter(torch.zeros(2))
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> clip_gradients([weight], max_norm=0.5).item()
    5.0
    >>> weight.grad
    tensor([0.3000, 0.4000])
    """
    if not max_norm > 0:
        msg = f"max_norm must be above 0, not {max_norm}"
        raise InputError(msg)
    given = model_or_parameters
    parameters = given.parameters() if isinstance(given, nn.Module) else given
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if any(gradient.is_sparse for gradient in gradients):
        msg = "clip_gradients takes no sparse gradients; make the embedding with sparse=False"
        raise InputError(msg)
    norm = squared_norms(gradients).sum().sqrt()
    factor = (max_norm / (norm + EPSILON)).clamp(max=1.0)
    rounded = {dtype: factor.to(dtype) for dtype in {gradient.dtype.to_real() for gradient in gradients}}
    for gradient in gradients:
        gradient.mul_(rounded[gradient.dtype.to_real()])
    return norm
