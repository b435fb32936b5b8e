"""One process of a group, or alone: batches of one's own, with all that may be random in them.

Usage: batch_loop.py FILE READERS; rank 0 writes what must not depend on processes or readers to FILE.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import bigbatch
from bigbatch.data.batch import batch_digest
from bigbatch.errors import InputError


class Words(torch.utils.data.Dataset):
    """Rows of words, of several lengths."""

    def __len__(self):
        """Return the number of rows."""
        return 60

    def __getitem__(self, index):
        """Return a row of noisy numbers."""
        return {"words": torch.arange(1 + index % 4).float() + torch.rand(()), "label": index % 3}


class InMemory:
    """Points that are read batch by batch, and draw from the global generators."""

    def __len__(self):
        """Return the number of points."""
        return 60

    def read_batch(self, indices, key):
        """Return points near their class."""
        del key
        return torch.from_numpy(indices % 3)[:, None] + torch.rand(len(indices), 4), torch.from_numpy(indices % 3)


class OwnGenerator(Words):
    """Rows that are drawn from a generator of the dataset's own."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __getitem__(self, index):
        """Return two numbers and a label."""
        return torch.from_numpy(self.rng.normal(size=2)), index % 3


def collate(samples):
    """Pad the rows, and cut them at random."""
    words = nn.utils.rnn.pad_sequence([sample["words"] for sample in samples], batch_first=True)
    return nn.functional.pad(words, (0, 4 - words.shape[1])) * np.random.rand(), [s["label"] for s in samples]  # noqa: NPY002


def tensors(batch, generator):
    """Make tensors of what is none yet, and add noise from both generators."""
    words, labels = batch
    noise = torch.randn(words.shape, generator=generator) + torch.rand(())
    return (words + noise).float(), torch.as_tensor(labels)


def mixup(batch):
    """Mix the rows of a batch, drawing from all global generators, as a loop may do before the step."""
    inputs, labels = batch
    share = torch.rand(()).item() * np.random.rand()  # noqa: NPY002 - the point of this test
    return share * inputs + (1 - share) * inputs.flip(0), labels


def weighted(epoch):
    """Draw with replacement, more of the later samples in the later epochs."""
    return torch.multinomial(torch.arange(60.0) + 20 - epoch, 48, replacement=True)


def train(dataset, loader_workers, prepare, **options):
    """Return a digest of the weights and the last batch's losses."""
    minibatches = bigbatch.Minibatches(
        dataset, minibatch_size=12, worker_minibatch_size=4, loader_workers=loader_workers, **options
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatches) as step:
        for minibatch in minibatches.epochs(2, first=1):
            step(prepare(minibatch), iteration=step.iteration)
    return batch_digest(dict(model.state_dict())).hex()


with bigbatch.joined() as machine:
    readers = int(sys.argv[2])
    found = [
        train(Words(), readers, lambda m: map(mixup, m), collate=collate, transform=tensors, order=weighted),
        train(InMemory(), readers, lambda m: [mixup(batch) for batch in m]),
    ]
    assert found[0] != found[1]
    for faulty, options, words in (
        (OwnGenerator(), {}, "data.rng"),
        (InMemory(), {"order": lambda epoch: [epoch + machine.processes.rank] * 48}, "differs from rank 0 in order"),
    ):
        try:
            train(faulty, readers, lambda m: m, **options)
        except InputError as error:
            assert words in str(error), error  # noqa: PT017 - it runs as a process
        else:
            assert machine.processes.world_size == 1, words
            assert words != "data.rng"
    if machine.processes.rank == 0:
        Path(sys.argv[1]).write_text(" ".join(found))
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
