"""What to say when a worker's batch does not fit into memory: how many samples of it do."""

import gc
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from bigbatch.errors import InputError

Run = Callable[[Any, int], Tensor]

ON_A_CPU: Final = "can't allocate memory"  # torch's words, where a limit is set; else the system ends the process


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether torch found no memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or ON_A_CPU in str(error)


def out_of_memory(model: nn.Module, batch: Any, num_samples: int, run: Run) -> InputError:  # noqa: ANN401 - any batch
    """Return the error to raise; it says which part of the batch does fit.

    Args:
        model: whose gradients are dropped.
        batch: of one worker, which does not fit.
        num_samples: of it (n).
        run: a worker's pass over (batch, its number of samples); returns what it goes backward from.
    """
    fitting = num_samples // 2
    while fitting and not _fits(model, first_samples(batch, num_samples, fitting), fitting, run):
        fitting //= 2
    advice = (
        f"{fitting} fit; a step keeps a few gradients more. Take --set worker_minibatch_size={fitting} or less, which "
        "batch normalisation depends on"
        if fitting
        else "not even one fits: take a smaller model, smaller samples or a larger device"
    )
    return InputError(f"out of memory in a worker's pass over {num_samples} samples; {advice}")


def first_samples(batch: Any, num_samples: int, count: int) -> Any:  # noqa: ANN401 - any batch
    """Return a batch of the first samples: tensors and lists of so many are cut, all else stays.

    >>> first_samples((torch.zeros(4, 2), ["a", "b", "c", "d"], "name"), 4, 1)
    (tensor([[0., 0.]]), ['a'], 'name')
    """
    if isinstance(batch, Tensor):
        return batch[:count] if batch.ndim and len(batch) == num_samples else batch
    if isinstance(batch, dict):
        return {key: first_samples(part, num_samples, count) for key, part in batch.items()}
    if type(batch) is list and len(batch) == num_samples:
        return batch[:count]
    if type(batch) in {list, tuple}:
        return type(batch)(first_samples(part, num_samples, count) for part in batch)
    return batch


def _fits(model: nn.Module, batch: Any, count: int, run: Run) -> bool:  # noqa: ANN401 - any batch
    model.zero_grad()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        run(batch, count).backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad()
    return True
