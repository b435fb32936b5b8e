"""Models, each built to break one rule; and one that is right."""

import os
import random
import threading

import numpy as np
import torch
from torch import nn

NUM_PIXELS, NUM_CLASSES = 64, 10


class Around(nn.Module):
    """A small model with a layer of interest, `inner`, in its middle."""

    def __init__(self, inner):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(NUM_PIXELS, 8), inner, nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        return self.last(self.inner(self.first(x.flatten(1))))


class Counts(nn.Module):
    """Remembers in an attribute how often it has run."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return x * (1 + self.passes)


class Caches(nn.Module):
    """Keeps the mean of the first batch that it sees: the same batch twice gives the same output."""

    mean = None

    def forward(self, x):
        if self.mean is None:
            self.mean = x.detach().mean()
        return x - self.mean


class OwnGenerator(nn.Module):
    """Draws from a generator that is not seeded for each worker."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x):
        return x + torch.rand(x.shape, generator=self.generator)


class ModuleGenerator(nn.Module):
    """Draws from a generator that is not the model's, so that a copy does not copy it."""

    generator = np.random.default_rng(0)

    def forward(self, x):
        return x * float(self.generator.uniform(0.5, 1.5))


class Unseeded(nn.Module):
    """Draws from the operating system."""

    def forward(self, x):
        return x * (1 + os.urandom(1)[0])


class GlobalGenerators(nn.Module):
    """Draws from the three generators that are seeded for every worker: this is right."""

    def forward(self, x):
        return x * (random.random() + np.random.rand()) + torch.rand(x.shape)  # noqa: NPY002


class Centres(nn.Module):
    """Subtracts the mean over the batch."""

    def forward(self, x):
        return x - x.mean(0)


class Rolls(nn.Module):
    """Mixes each sample with its neighbour."""

    def forward(self, x):
        return 0.7 * x + 0.3 * x.roll(1, 0)


class LooksAhead(nn.Module):
    """Adds up all samples that come later in the batch."""

    def forward(self, x):
        return x.flip(0).cumsum(0).flip(0)


class Attends(nn.Module):
    """Takes the samples for the positions of a sequence, as attention does where batch_first is forgotten."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        x = x[:, None]
        return self.attention(x, x, x, need_weights=False)[0][:, 0]


class OwnForward(nn.Module):
    """Counts in the forward of the model itself, not of a layer."""

    def __init__(self):
        super().__init__()
        self.net, self.passes = nn.Linear(NUM_PIXELS, NUM_CLASSES), 0

    def forward(self, x):
        self.passes += 1
        return self.net(x.flatten(1) * self.passes)


class Replaces(nn.Module):
    """Replaces a buffer instead of writing to it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("average", torch.zeros(8))

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
        return x


class OddInitialisation(nn.Linear):
    """Is initialised from the operating system's randomness."""

    def __init__(self):
        super().__init__(8, 8)
        with torch.no_grad():
            self.bias.fill_(int.from_bytes(os.urandom(4), "little"))


class Locked(nn.Module):
    """Cannot be copied: this is right."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x):
        return x


class Applies(nn.Module):
    """Applies a function, which may have other bits on another processor."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Recurs(nn.LSTM):
    """Returns its states alone."""

    def forward(self, x):
        return super().forward(x.unsqueeze(0))[0][0]


LAYERS = {
    "arctangent": lambda: Applies(torch.atan),
    "in-place": lambda: Applies(lambda x: torch.acos_(x.tanh() * 0.9)),
    "root": lambda: Applies(lambda x: (x.abs() + 1) ** 0.5),
    "powers": lambda: Applies(lambda x: (x.abs() + 1) ** x),
    "recurrent": lambda: Recurs(8, 8),
    "locked": Locked,
    "right": lambda: nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), GlobalGenerators()),
    "counts": Counts,
    "caches": Caches,
    "own-generator": OwnGenerator,
    "module-generator": ModuleGenerator,
    "unseeded": Unseeded,
    "centres": Centres,
    "rolls": Rolls,
    "looks-ahead": LooksAhead,
    "attends": Attends,
    "sync": lambda: nn.SyncBatchNorm(8),
    "replaces": Replaces,
    "initialisation": OddInitialisation,
}


def model(layer="right"):
    """Return a model with that layer in its middle."""
    return Around(LAYERS[layer]())


def own_forward():
    """Return a model that counts by itself."""
    return OwnForward()
