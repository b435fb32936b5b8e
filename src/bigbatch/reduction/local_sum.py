"""The part of the tree that one process evaluates, as its workers' leaves arrive: lists of tensors in flat buffers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bigbatch.reduction.tree import BinaryCounter, Node, is_node


@dataclass(frozen=True)
class Flat:
    """A list of tensors that lie side by side.

    Attributes:
        buffers: one-dimensional, one for each group of tensors.
        views: the tensors, each a view of a buffer.
    """

    buffers: list[Tensor]
    views: list[Tensor]

    def copy_(self, tensors: Sequence[Tensor | None]) -> None:
        """Copy the tensors in, zeros for those that are None."""
        views, given = self._given(tensors)
        if len(given) < len(self.views):
            self.zero_()
        if given:
            torch._foreach_copy_(views, given)

    def add_tensors_(self, tensors: Sequence[Tensor | None]) -> None:
        """Add the tensors, element by element; None counts as zeros, with the bits that adding them leaves."""
        views, given = self._given(tensors)
        if given:
            torch._foreach_add_(views, given)
        if len(given) < len(self.views):
            for view, tensor in zip(self.views, tensors, strict=True):
                if tensor is None:
                    view.add_(0.0)  # -0.0 becomes 0.0

    def _given(self, tensors: Sequence[Tensor | None]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the tensors that are not None, and before them their views."""
        given = [tensor for tensor in tensors if tensor is not None]
        if len(given) == len(self.views):
            return self.views, given
        return [view for view, tensor in zip(self.views, tensors, strict=True) if tensor is not None], given

    def add_(self, other: "Flat") -> "Flat":
        """Add the other's buffers, element by element."""
        for into, buffer in zip(self.buffers, other.buffers, strict=True):
            into.add_(buffer)
        return self

    def zero_(self) -> None:
        """Set every element to zero."""
        for buffer in self.buffers:
            buffer.zero_()


class FlatLayout:
    """Where each of a list of tensors lies in the flat buffers.

    Args:
        tensors: their shapes, dtypes and device fix the layout; their values do not matter.
        groups: the tensors (by their places in the list) of each buffer, in their order there, all of one dtype. By
            default one buffer for each dtype.
    """

    def __init__(self, tensors: Sequence[Tensor], groups: Sequence[Sequence[int]] | None = None) -> None:
        if groups is None:
            dtypes = sorted({tensor.dtype for tensor in tensors}, key=str)
            groups = [[i for i, tensor in enumerate(tensors) if tensor.dtype == dtype] for dtype in dtypes]
        self.shapes = [tensor.shape for tensor in tensors]
        self.strides = [dense_strides(tensor) for tensor in tensors]
        self.device = tensors[0].device if tensors else None
        self.dtypes = [tensors[group[0]].dtype for group in groups]
        self.numels = [sum(tensors[i].numel() for i in group) for group in groups]
        self.places = [(0, 0)] * len(tensors)  # (buffer, offset) of each tensor
        for buffer, group in enumerate(groups):
            offset = 0
            for i in group:
                self.places[i] = (buffer, offset)
                offset += tensors[i].numel()

    def empty(self) -> Flat:
        """Return new buffers of undefined values."""
        sizes = zip(self.numels, self.dtypes, strict=True)
        return self.over([torch.empty(numel, dtype=dtype, device=self.device) for numel, dtype in sizes])

    def over(self, buffers: list[Tensor]) -> Flat:
        """Return the tensors that lie in the given buffers."""
        places = zip(self.places, self.shapes, self.strides, strict=True)
        views = [buffers[i].as_strided(shape, strides, offset) for (i, offset), shape, strides in places]
        return Flat(buffers, views)


def dense_strides(tensor: Tensor) -> tuple[int, ...]:
    """Return the tensor's own strides if its elements fill a buffer, as DDP's buckets do; else contiguous ones."""
    alike = torch.empty_like(tensor, device="meta")  # which keeps the strides of just those
    return alike.stride() if alike.stride() == tensor.stride() else torch.empty(tensor.shape, device="meta").stride()


class LocalSum:
    """This process's run of partial sums, of leaves that are lists of tensors.

    It reuses its buffers: log2(v) + 1 at most for v workers in an aligned block.

    Args:
        layout: of a leaf.
        worker_count: workers of the minibatch, over all processes (k).
    """

    def __init__(self, layout: FlatLayout, worker_count: int) -> None:
        self.layout, self.worker_count = layout, worker_count
        self.free: list[Flat] = []
        # It holds the list and not `self`: a circle would keep the buffers until Python looks for circles.
        self.counter: BinaryCounter[Flat] = BinaryCounter(worker_count, partial(_merge, self.free))
        self.lent: list[Flat] = []

    def add(self, worker: int, leaf: Sequence[Tensor | None]) -> None:
        """Add the leaf of the next worker; None counts as zeros. The tensors are copied."""
        nodes = self.counter.nodes
        if nodes and is_node(nodes[-1].start, worker + 1, self.worker_count):
            sibling = nodes.pop()
            sibling.value.add_tensors_(leaf)
            self.counter.push(Node(sibling.start, worker + 1, sibling.value))
        else:
            flat = self.free.pop() if self.free else self.layout.empty()
            flat.copy_(leaf)
            self.counter.push(Node(worker, worker + 1, flat))

    def take(self) -> list[Node[Flat]]:
        """Return the run, and start anew. Its buffers may be written to until `clear` or the next `take`."""
        self.free += self.lent
        nodes = self.counter.take()
        self.lent = [node.value for node in nodes]
        return nodes

    def clear(self) -> None:
        """Forget what was added, and take back what was lent."""
        self.take()
        self.take()


def _merge(free: list[Flat], left: Flat, right: Flat) -> Flat:
    free.append(right)
    return left.add_(right)
