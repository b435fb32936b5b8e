"""Norms of tensors whose bits depend on the values alone, not on where in memory they lie."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor

# Reductions on CUDA take another order where a tensor is not aligned for their vector loads of 4 elements: 16 bytes for
# float32, 32 for float64. The allocators align to 64 (CPU) and 512 bytes (CUDA).
ALIGNMENT_BYTES: Final = 64


@torch.no_grad()
def squared_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of the squares of each tensor's elements, summed in float64.

    The same values in the same memory format give the same bits wherever they lie. This matters because gradients are
    views of one buffer for one process, and of other buckets for several. Each tensor is reduced in the order of its
    memory; one that does not start at a multiple of 64 bytes is copied first. Nothing waits for the device.

    Args:
        tensors: any shapes, real or complex, on one device.

    Returns:
        As many numbers, float64, on the device of the tensors; an empty tensor has 0.

    >>> squared_norms([torch.tensor([3.0, 4.0]), torch.ones(2, 5)]).round()
    tensor([25., 10.], dtype=torch.float64)
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64)
    rows = aligned([in_memory_order(tensor.detach()) for tensor in tensors])
    norms = torch._foreach_norm(rows, 2, dtype=torch.float64)  # noqa: SLF001 - few launches for many small tensors
    return torch.stack(norms).square()


def in_memory_order(tensor: Tensor) -> Tensor:
    """Return the elements as one row of real numbers, in the order in which they lie: a view, if they fill a buffer.

    >>> in_memory_order(torch.arange(6).reshape(2, 3).t()).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    by_stride = sorted(range(real.ndim), key=real.stride, reverse=True)
    return real.permute(by_stride).reshape(-1)


def aligned(rows: Sequence[Tensor]) -> list[Tensor]:
    """Return the rows, each at a multiple of 64 bytes; those that were not are copied into one new buffer."""
    found = list(rows)
    odd = [i for i, row in enumerate(rows) if row.data_ptr() % ALIGNMENT_BYTES]
    for dtype in {rows[i].dtype for i in odd}:
        places = [i for i in odd if rows[i].dtype == dtype]
        copies = _side_by_side([rows[i] for i in places])
        torch._foreach_copy_(copies, [rows[i] for i in places])
        for i, copy in zip(places, copies, strict=True):
            found[i] = copy
    return found


def _side_by_side(rows: Sequence[Tensor]) -> list[Tensor]:
    """Return new rows of the same sizes in one buffer, each at a multiple of 64 bytes."""
    step = ALIGNMENT_BYTES // rows[0].element_size()
    starts = accumulate((-(-row.numel() // step) * step for row in rows), initial=0)
    *offsets, total = starts
    buffer = rows[0].new_empty(total)
    return [buffer[offset : offset + row.numel()] for offset, row in zip(offsets, rows, strict=True)]
