"""A digest of what this machine's arithmetic gives, to tell two kinds of CPU apart by their bits."""

import hashlib
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from bigbatch.processes.portable import is_portable

DIGITS: Final = 12


def arithmetic_digest() -> str:
    """Return a digest of the bits of a few operations on fixed numbers: products, convolutions, sums, functions.

    Two processes with the same libraries, settings and threads whose digests differ compute differently. With portable
    numerics, functions are left out that are not portable.
    """
    sha = hashlib.sha256()
    with torch.enable_grad():
        for tensor in _results():
            sha.update(tensor.detach().contiguous().numpy().tobytes())
    return sha.hexdigest()[:DIGITS]


def _results() -> Iterator[Tensor]:
    left, right = _numbers(48, 96), _numbers(96, 80)
    yield from (
        left @ right,
        functional.linear(_numbers(3, 5, 96), right.t().contiguous()),
        _numbers(300) @ _numbers(300),
    )
    images, weights = _numbers(4, 8, 9, 9).requires_grad_(), _numbers(16, 8, 3, 3).requires_grad_()
    for x in (images, images.contiguous(memory_format=torch.channels_last)):
        y = functional.conv2d(x, weights, padding=1)
        yield y
        yield from torch.autograd.grad(functional.relu(y).square().sum(), (images, weights))
    wide = _numbers(7, 301)
    yield from (
        functional.layer_norm(wide, (301,)),
        functional.log_softmax(wide, -1),
        functional.gelu(wide),
        wide.sum(),
        wide.var(dim=0),
    )
    yield torch.sqrt(wide.abs())
    if not is_portable():
        yield from (torch.exp(wide), torch.tanh(wide), torch.atan(wide), torch.log(wide.abs() + 1))


def _numbers(*shape: int) -> Tensor:
    """Return numbers between -1 and 1 that are exact in every arithmetic."""
    count = torch.Size(shape).numel()
    return (torch.arange(count) * 7919 % 2003 - 1001).to(torch.float32).div(1024).reshape(shape)
