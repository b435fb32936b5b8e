"""How a process that reads hands a batch over: tensors in shared memory, and the rest pickled.

torch does both in a thread of the reader. An error there is only printed, and the training waits forever. So both are
tried here first, where an error can be told.
"""

import os
import pickle
from typing import Any, Final

import torch
from torch import Tensor

from bigbatch.data.batch import Batch
from bigbatch.errors import InputError, first_line

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - where the system keeps it, not a file of ours
MIB: Final = 2**20


def hand_over(batch: Batch) -> Batch:
    """Put a batch's tensors into shared memory, and return it.

    Raises:
        InputError: something in the batch cannot be pickled.
        RuntimeError: shared memory is too small.
    """
    finder = _TensorFinder()
    try:
        finder.dump(batch)
        for tensor in finder.tensors:
            if tensor.layout == torch.strided and tensor.device.type == "cpu":
                tensor.share_memory_()  # type: ignore[no-untyped-call]
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        msg = f"a batch cannot come from another process ({first_line(error)}); change collate, or use loader_workers=0"
        raise InputError(msg) from error
    return batch


def is_of_shared_memory(error: BaseException) -> bool:
    """Tell whether torch found no room in shared memory."""
    return "shared memory" in str(error)


def shared_memory_is_full() -> InputError:
    """Return the error to show, with the size of shared memory and what to do."""
    space = os.statvfs(SHARED_MEMORY)
    size, free = (blocks * space.f_frsize / MIB for blocks in (space.f_blocks, space.f_bavail))
    return InputError(
        f"{SHARED_MEMORY} has {size:.0f} MiB, {free:.0f} of them free: too little for the batches that loader_workers "
        "read ahead; make it larger (docker run --shm-size=8g), or use fewer (--loader-workers), or loader_workers=0"
    )


class _TensorFinder(pickle.Pickler):
    """Find the tensors of a batch by pickling it into nothing; large arrays are not copied."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), protocol=pickle.HIGHEST_PROTOCOL, buffer_callback=lambda _: None)
        self.tensors: list[Tensor] = []

    def persistent_id(self, value: Any) -> int | None:  # noqa: ANN401 - anything in a batch
        if not isinstance(value, Tensor):
            return None
        self.tensors.append(value)
        return len(self.tensors)


class _Nowhere:
    def write(self, content: bytes, /) -> int:
        return len(content)
