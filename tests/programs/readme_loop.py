"""One process of a group, or alone: a loop as in the README, whose rate is scaled, warmed up and decays to zero.

Usage: readme_loop.py FILE [--fail]; rank 0 writes the hash of the final weights, the loss and the evaluation to FILE.
With --fail the last process has an error in its fourth iteration, and the others must notice.
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

import bigbatch
from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.errors import PeerLostError
from bigbatch.processes.join import Machine

EPOCHS = 3


class Points(torch.utils.data.Dataset):
    """Points of three classes, which move whenever they are read."""

    def __init__(self, num_samples):
        self.num_samples = num_samples

    def __len__(self):
        """Return the number of samples."""
        return self.num_samples

    def __getitem__(self, index):
        """Return a point and its class."""
        return torch.randn(4) + index % 3, index % 3


def train(machine: Machine, *, fails: bool) -> str:
    """Train, and return what must not depend on the processes."""
    minibatches = bigbatch.Minibatches(
        Points(200), minibatch_size=48, worker_minibatch_size=8, seed=3, device=machine.device
    )
    torch.manual_seed(os.getpid() if machine.processes.rank else 0)  # all start from the weights of rank 0
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.to(machine.device).parameters(), lr=0.1, momentum=0.9)
    rate = bigbatch.LearningRate.scaled(
        0.05,
        reference=8,
        minibatch_size=48,
        epochs=EPOCHS,
        iterations_per_epoch=len(minibatches),
        warmup_epochs=1,
        schedule="cosine",
    )
    with bigbatch.Step(model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatches) as step:
        for minibatch in minibatches.epochs(EPOCHS):
            bigbatch.set_learning_rate(optimizer, rate(step.iteration))
            loss = step(minibatch)
            if fails and step.iteration == 3 and machine.processes.rank == machine.processes.world_size - 1:
                raise ZeroDivisionError
    assert step.iteration == 12
    result = bigbatch.evaluate(model, Points(601), "top-1-error", machine=machine)
    assert model.training, "an evaluation leaves the model as it was"
    assert result.num_samples == 601
    return f"{weights_sha256(model.state_dict())} {loss.item().hex()} {result}"


fails, start = "--fail" in sys.argv, time.monotonic()
try:
    with bigbatch.joined() as machine:
        found = train(machine, fails=fails)
        if machine.processes.rank == 0:
            Path(sys.argv[1]).write_text(found)
except (PeerLostError, ZeroDivisionError):
    assert fails
    assert time.monotonic() - start < 60
else:
    assert not fails
os._exit(0)  # as the command does: tearing down the interpreter can abort (pytorch#190489)
