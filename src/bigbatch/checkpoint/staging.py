"""Copies of a state's tensors on the CPU. A GPU's are copied while it goes on, into pinned memory that is kept."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Staging:
    """Copies a state's tensors, one state at a time: its copies are written before the next are made.

    Training on a GPU waits for none of it. The copies are queued before all that may write to the tensors later.
    """

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] = {}

    def copy(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """Return contiguous copies that share no memory with the tensors, and what waits until they have arrived."""
        on_gpu = {path: tensor for path, tensor in tensors.items() if is_on_gpu(tensor)}
        self.kept = {path: self._buffer(path, tensor) for path, tensor in on_gpu.items()}
        for path, tensor in on_gpu.items():
            self.kept[path].copy_(tensor.detach(), non_blocking=True)  # in another layout: made contiguous there first
        copies = {path: self.kept[path] if path in on_gpu else _clone(tensor) for path, tensor in tensors.items()}
        return copies, arrival() if on_gpu else _nothing

    def _buffer(self, path: str, tensor: Tensor) -> Tensor:
        kept = self.kept.get(path)
        if kept is not None and (kept.shape, kept.dtype) == (tensor.shape, tensor.dtype):
            return kept
        return pinned(tensor)


def is_on_gpu(tensor: Tensor) -> bool:
    """Tell whether a tensor is copied to pinned memory."""
    return tensor.is_cuda


def pinned(tensor: Tensor) -> Tensor:
    """Return pinned memory for a contiguous copy of a tensor."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)


def arrival() -> Callable[[], None]:
    """Return what waits until the GPU has done all that it was given so far; any thread may call it."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    wait: Callable[[], None] = event.synchronize
    return wait


def _clone(tensor: Tensor) -> Tensor:
    copy = tensor.detach().cpu().contiguous()
    return copy.clone() if copy.data_ptr() == tensor.data_ptr() else copy


def _nothing() -> None:
    """Wait for nothing."""
