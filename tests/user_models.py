"""Models, data sets and optimizers as a user of the command would bring them."""

import os
import signal
import time
from collections import Counter
from pathlib import Path

import torch
from torch import nn

from rate_absorbed import RateAbsorbedSGD

FAULT = Path("fault")  # written when it happens
PASSES = Counter()  # of all models of this process: a step refuses a count in an attribute


def net(hidden=16):
    """Return a model of one's own."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 10))


def lazy():
    """Return a model that is not initialised."""
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def sparse_buffer():
    """Return a model with a graph in a buffer."""
    model = net()
    model.register_buffer("graph", torch.eye(3).to_sparse())
    return model


def codebook():
    """Return a model that counts how often its codes are used."""
    model = net()
    model.register_buffer("uses", torch.zeros(2, dtype=torch.long))

    def count(model, args):
        if model.training:
            pixels = args[0].flatten(1)
            model.uses += torch.bincount((pixels[:, 20] > pixels[:, 28]).long(), minlength=2)

    model.register_forward_pre_hook(count)
    return model


def blobs(num_train=96):
    """Return training and validation datasets whose images are noisy."""

    class Blobs(torch.utils.data.Dataset):
        def __init__(self, size):
            self.size = size

        def __len__(self):
            return self.size

        def __getitem__(self, index):
            return torch.randn(1, 8, 8) + index % 10, index % 10

    return Blobs(num_train), Blobs(40)


class FailsOnRank(nn.Module):
    """Fails in one process, in its own way, after some forward passes."""

    def __init__(self, rank, how, after=0):
        super().__init__()
        self.net, self.rank, self.how, self.after = net(), rank, how, after

    def forward(self, x):
        PASSES[self.how] += 1
        if int(os.environ.get("RANK", "0")) == self.rank and PASSES[self.how] > self.after:
            FAULT.touch()
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "hang":
                time.sleep(600)
            msg = "the model is broken on purpose"
            raise RuntimeError(msg)
        return self.net(x)


def absorbing(groups, lr):
    """Return an optimizer that absorbs the rate."""
    return RateAbsorbedSGD(groups, lr=lr, momentum=0.9)


class FScore:
    """A metric of the user's own: the share of outputs that are right, as a plain number."""

    name, unit, better = "f-score", "", "higher"

    def measure(self, outputs, targets):
        """Return how many are right, and how many there are."""
        return [(outputs.argmax(1) == targets).sum(), len(targets)]

    def result(self, parts):
        """Return the share."""
        return sum(int(right) for right, _ in parts) / sum(count for _, count in parts)
