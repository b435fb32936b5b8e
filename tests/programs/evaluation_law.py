"""One process of a group: the evaluation equals, bit for bit, that of one process, and counts every sample once."""

import os

import numpy as np
import torch
from torch import nn

from bigbatch.data.in_memory import InMemoryImages
from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine, joined
from bigbatch.training.evaluation import PART_SIZE, evaluate


class Recording(InMemoryImages):
    """Counts how often each sample is read."""

    def read_batch(self, indices, key):
        """Count, then read."""
        self.counts[indices] += 1
        return super().read_batch(indices, key)


NAMES = ["top-1-error", "mean-loss", "perplexity"]
loss_function = nn.CrossEntropyLoss(reduction="none")
with joined():
    alone_here = Machine(Processes(), torch.device("cpu"), 1)
    generator = np.random.default_rng(0)
    for num_samples in (1, PART_SIZE - 1, PART_SIZE, 3 * PART_SIZE + 1, 1234):
        images = generator.integers(0, 256, (num_samples, 1, 4, 4), dtype=np.uint8)
        labels = generator.integers(0, 3, num_samples)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        dataset = Recording(images, labels, mean=(0.5,), std=(0.25,))
        dataset.counts = np.zeros(num_samples, np.int64)
        alone = evaluate(model, dataset, NAMES, machine=alone_here, objective=loss_function)
        assert dataset.counts.tolist() == [1] * num_samples
        dataset.counts[:] = 0
        together = evaluate(model, dataset, NAMES, objective=loss_function)
        assert together == alone
        counts = torch.from_numpy(dataset.counts)
        torch.distributed.all_reduce(counts)
        assert counts.tolist() == [1] * num_samples
    labels[700] = 3  # in one part only, which one process reads
    broken = InMemoryImages(images, labels, mean=(0.5,), std=(0.25,))
    try:
        evaluate(model, broken)
    except InputError as error:
        assert "the data has a label 3" in str(error)  # noqa: PT017 - no pytest here
    else:
        raise AssertionError
    torch.distributed.barrier()
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
