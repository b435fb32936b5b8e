"""The error on a data set: every sample counted exactly once, for any number of processes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from bigbatch.data.dataset import BatchDataset
from bigbatch.data.loading import load_batches
from bigbatch.processes.group import Processes
from bigbatch.reduction.lost_peer import communicating
from bigbatch.rules.sampling import BatchIndices
from bigbatch.step.worker_pass import forward_precision

EVALUATION_BATCH_SIZE: Final = 250


@dataclass(frozen=True)
class Evaluation:
    """What a model does on a data set.

    Attributes:
        num_samples: how many were evaluated: all.
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
    dataset: BatchDataset,
    *,
    processes: Processes,
    device: torch.device,
    precision: str = "float32",
    loader_workers: int = 0,
) -> Evaluation:
    """Measure top-1 error and cross-entropy, whatever loss the model was trained with.

    The samples are cut into fixed batches, whatever the number of processes; each batch is evaluated by one process,
    and every process adds up the batches' results in their order. So the result has the same bits everywhere.

    Args:
        model: maps inputs to logits (n, num_classes); put into evaluation mode.
        dataset: its batches are (inputs, labels).
        processes: who takes part.
        device: where the model is.
        precision: "float32", or "bfloat16" for autocast.
        loader_workers: processes that read ahead.
    """
    model.eval()
    starts = range(0, len(dataset), EVALUATION_BATCH_SIZE)
    mine = range(processes.rank, len(starts), processes.world_size)
    stops = [min(start + EVALUATION_BATCH_SIZE, len(dataset)) for start in starts]
    indices = [BatchIndices(0, np.arange(starts[i], stops[i])) for i in mine]
    # Of each batch its correct samples, and its summed loss.
    results = torch.zeros(len(starts), 2, dtype=torch.float64, device=device)
    batches = load_batches(dataset, indices, seed=0, device=device, loader_workers=loader_workers)
    for i, (inputs, labels) in zip(mine, batches, strict=True):
        with forward_precision(device, precision):
            logits = model(inputs)
        results[i] = _score(logits.float(), labels)
    if processes.world_size > 1:
        with communicating():  # each batch has one process's value and zeros: exact in any order
            dist.all_reduce(results, group=processes.group)
    correct, loss = _ordered_sum(results)
    return Evaluation(len(dataset), int(correct), loss / len(dataset))


def _score(logits: Tensor, labels: Tensor) -> Tensor:
    correct = (logits.argmax(1) == labels).sum().double()
    return torch.stack([correct, nn.functional.cross_entropy(logits, labels, reduction="sum").double()])


def _ordered_sum(results: Tensor) -> tuple[float, float]:
    rows = results.tolist()
    return sum(row[0] for row in rows), sum(row[1] for row in rows)
