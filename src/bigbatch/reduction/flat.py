"""Many tensors in few flat buffers, one for each dtype: what a sum and a message work on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Flat:
    """A list of tensors that lie side by side.

    Attributes:
        buffers: one for each dtype, one-dimensional.
        views: the tensors, each a view of a buffer.
    """

    buffers: list[Tensor]
    views: list[Tensor]

    def copy_(self, tensors: Sequence[Tensor | None]) -> None:
        """Copy the tensors in, zeros for those that are None."""
        given = [(view, tensor) for view, tensor in zip(self.views, tensors, strict=True) if tensor is not None]
        if len(given) < len(self.views):
            self.zero_()
        torch._foreach_copy_([view for view, _ in given], [tensor for _, tensor in given])

    def add_(self, other: "Flat") -> None:
        """Add the other's buffers, element by element."""
        for into, buffer in zip(self.buffers, other.buffers, strict=True):
            into.add_(buffer)

    def zero_(self) -> None:
        """Set every element to zero."""
        for buffer in self.buffers:
            buffer.zero_()


class FlatLayout:
    """Where each of a list of tensors lies in the flat buffers.

    Args:
        tensors: their shapes, dtypes and device fix the layout; their values do not matter.
        multiple: each buffer is padded with zeros to a multiple of this many elements, so that it divides into equal
            slices.
    """

    def __init__(self, tensors: Sequence[Tensor], *, multiple: int = 1) -> None:
        self.shapes = [tensor.shape for tensor in tensors]
        self.strides = [dense_strides(tensor) for tensor in tensors]
        self.device = tensors[0].device
        self.dtypes = sorted({tensor.dtype for tensor in tensors}, key=str)
        self.numels = [0] * len(self.dtypes)
        self.places: list[tuple[int, int]] = []  # (buffer, offset) of each tensor
        for tensor in tensors:
            buffer = self.dtypes.index(tensor.dtype)
            self.places.append((buffer, self.numels[buffer]))
            self.numels[buffer] += tensor.numel()
        self.numels = [-(-numel // multiple) * multiple for numel in self.numels]

    def zeros(self) -> Flat:
        """Return new buffers of zeros."""
        sizes = zip(self.numels, self.dtypes, strict=True)
        return self.over([torch.zeros(numel, dtype=dtype, device=self.device) for numel, dtype in sizes])

    def over(self, buffers: list[Tensor]) -> Flat:
        """Return the tensors that lie in the given buffers."""
        places = zip(self.places, self.shapes, self.strides, strict=True)
        views = [buffers[i].as_strided(shape, strides, offset) for (i, offset), shape, strides in places]
        return Flat(buffers, views)


def dense_strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the tensor's own strides if it is contiguous or channels-last (a straight copy); else contiguous ones."""
    is_dense = tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))  # noqa: PLR2004
    return tensor.stride() if is_dense else torch.empty(tensor.shape, device="meta").stride()
