"""The error on a data set. Every sample counts exactly once, for any number of processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigbatch.data.dataset import BatchDataset, as_batch_dataset
from bigbatch.data.loading import load_batches
from bigbatch.processes.group import Processes
from bigbatch.processes.lost_peer import communicating
from bigbatch.rules.sampling import BatchIndices
from bigbatch.step.worker_pass import forward_precision

EVALUATION_BATCH_SIZE: Final = 250


@dataclass(frozen=True)
class Evaluation:
    """The result of a model on a data set.

    Attributes:
        num_samples: all samples of the data set.
        num_correct: how many of them have their label as the largest logit.
        loss: mean cross-entropy.
    """

    num_samples: int
    num_correct: int
    loss: float

    @property
    def error(self) -> float:
        """Top-1 error in %."""
        return 100 * (1 - self.num_correct / self.num_samples)


@torch.no_grad()
def evaluate(
    model: nn.Module,
    dataset: BatchDataset | Sequence[Any],
    *,
    processes: Processes | None = None,
    precision: str = "float32",
    loader_workers: int = 0,
) -> Evaluation:
    """Measure top-1 error and cross-entropy, also of a model that was trained with another loss.

    All processes call it together, and all get the same result. The samples are cut into the same batches for any
    number of processes. One process evaluates each batch, and every process adds up the results in the same order. So
    the result has the same bits for any number of processes.

    Args:
        model: maps inputs to logits, shape (n, num_classes). It runs in evaluation mode, which is then undone.
        dataset: anything with `len()` and `[index]`, or a `BatchDataset`; its samples are (input, label).
        processes: that take part; by default all that have joined (`bigbatch.joined`), or this process alone.
        precision: "float32", or "bfloat16" to run the forward pass under autocast.
        loader_workers: processes that read ahead; 0 reads in the process itself.

    Raises:
        InputError: a sample cannot be read.
        PeerLostError: another process ended, or did not answer in time.

    >>> model = nn.Linear(2, 3)
    >>> evaluate(model, [(torch.zeros(2), 0)] * 10).num_samples
    10
    """
    dataset = as_batch_dataset(dataset)
    processes = processes or Processes.current()
    device = next(model.parameters()).device
    starts = range(0, len(dataset), EVALUATION_BATCH_SIZE)
    mine = range(processes.rank, len(starts), processes.world_size)
    stops = [min(start + EVALUATION_BATCH_SIZE, len(dataset)) for start in starts]
    indices = [BatchIndices(0, np.arange(starts[i], stops[i])) for i in mine]
    # Each batch has a row: its number of correct samples, and its summed loss.
    results = torch.zeros(len(starts), 2, dtype=torch.float64, device=device)
    batches = load_batches(dataset, indices, seed=0, device=device, loader_workers=loader_workers)
    with _evaluation_mode(model):
        for i, (inputs, labels) in zip(mine, batches, strict=True):
            with forward_precision(device, precision):
                logits = model(inputs)
            results[i] = _score(logits.float(), labels)
    if processes.world_size > 1:
        with communicating():  # each batch has one process's value and zeros: exact in any order
            dist.all_reduce(results, group=processes.group)
    correct, loss = _ordered_sum(results)
    return Evaluation(len(dataset), int(correct), loss / len(dataset))


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards give each of its modules its old mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


def _score(logits: Tensor, labels: Tensor) -> Tensor:
    correct = (logits.argmax(1) == labels).sum().double()
    return torch.stack([correct, nn.functional.cross_entropy(logits, labels, reduction="sum").double()])


def _ordered_sum(results: Tensor) -> tuple[float, float]:
    rows = results.tolist()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)
