"""Gradients as one vector, and how two vectors compare."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def flat_parameters(model: nn.Module) -> Tensor:
    """Return a copy of the trainable parameters as one float64 vector on the CPU."""
    return as_one_row(parameter.detach() for parameter in model.parameters() if parameter.requires_grad)


def flat_gradient(model: nn.Module) -> Tensor:
    """Return a copy of the gradient as one vector; a parameter without one has zeros."""
    return as_one_row(
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for parameter in model.parameters()
        if parameter.requires_grad
    )


def as_one_row(parts: Iterable[Tensor]) -> Tensor:
    """Return the tensors as one float64 vector on the CPU."""
    return torch.cat([part.to("cpu", torch.float64, copy=True).flatten() for part in parts])


def relative_difference(vector: Tensor, reference: Tensor) -> float:
    """Return |vector - reference| / |reference|; the plain difference if the reference is zero."""
    return float((vector - reference).norm() / (reference.norm() or 1.0))


def ratio(vector: Tensor, reference: Tensor) -> float:
    """Return the factor by which `reference` comes nearest to `vector`.

    >>> ratio(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))
    2.0
    """
    return float(vector.dot(reference) / (reference.dot(reference) or 1.0))
