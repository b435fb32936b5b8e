"""One process of a group: the evaluation equals, bit for bit, that of one process, and counts every sample once."""

import os

import numpy as np
import torch
from torch import nn

from bigbatch.data.in_memory import InMemoryImages
from bigbatch.processes.group import Processes
from bigbatch.processes.join import joined
from bigbatch.training.evaluation import EVALUATION_BATCH_SIZE, evaluate


class Recording(InMemoryImages):
    """Counts how often each sample is read."""

    def read_batch(self, indices, key):
        """Count, then read."""
        self.counts[indices] += 1
        return super().read_batch(indices, key)


with joined():
    generator = np.random.default_rng(0)
    for num_samples in (1, EVALUATION_BATCH_SIZE - 1, EVALUATION_BATCH_SIZE, 3 * EVALUATION_BATCH_SIZE + 1, 1234):
        images = generator.integers(0, 256, (num_samples, 1, 4, 4), dtype=np.uint8)
        labels = generator.integers(0, 3, num_samples)
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))
        dataset = Recording(images, labels, mean=(0.5,), std=(0.25,))
        dataset.counts = np.zeros(num_samples, np.int64)
        alone = evaluate(model, dataset, processes=Processes())
        assert dataset.counts.tolist() == [1] * num_samples
        dataset.counts[:] = 0
        together = evaluate(model, dataset)
        assert together == alone
        counts = torch.from_numpy(dataset.counts)
        torch.distributed.all_reduce(counts)
        assert counts.tolist() == [1] * num_samples
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
