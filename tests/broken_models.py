"""Models, losses, optimizers, data and loops, each built to break one rule; and a few that are right."""

import os
import random
import threading

import numpy as np
import torch
from torch import nn

from bigbatch.optim import LARS
from rate_absorbed import RateAbsorbedSGD

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
    """Keeps the mean of the first block that it sees: the same block twice gives the same output."""

    mean = None

    def forward(self, x):
        if self.mean is None:
            self.mean = x.detach().mean()
        return x - self.mean


class OwnGenerator(nn.Module):
    """Draws from a generator that nobody seeds anew."""

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
    """Takes the mean over the block off."""

    def forward(self, x):
        return x - x.mean(0)


class Rolls(nn.Module):
    """Mixes each sample with its neighbour."""

    def forward(self, x):
        return 0.7 * x + 0.3 * x.roll(1, 0)


class LooksAhead(nn.Module):
    """Adds up all samples that come later in the block."""

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


LAYERS = {
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


def each_loss(outputs, targets):
    """Return one loss a sample: this is right."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


def summed_loss(outputs, targets):
    """Return the sum: this is right too."""
    return each_loss(outputs, targets).sum()


def mean_loss(outputs, targets):
    """Return the mean over a worker's samples."""
    return each_loss(outputs, targets).mean()


def weighted_mean_loss(outputs, targets):
    """Return the mean weighted by class, as torch does."""
    return nn.functional.cross_entropy(outputs, targets, weight=torch.arange(1.0, NUM_CLASSES + 1))


def hidden_mean_loss(outputs, targets):
    """Return one loss a sample, but divided by how many there are."""
    return each_loss(outputs, targets) / len(targets)


def contrastive_loss(outputs, targets):
    """Compare each sample with the mean of the others."""
    return each_loss(outputs - outputs.mean(0), targets)


def penalised_block_loss(outputs, targets):
    """Add a term once a block, as L2 of something that a model returns would be."""
    return each_loss(outputs, targets).sum() + 0.1


MEMORY = nn.Linear(3, 3)


def l2_loss(outputs, targets):
    """Add L2 of weights, as a loss that knows its model does."""
    return each_loss(outputs, targets) + 5e-4 * MEMORY.weight.square().sum()


CALLS = [0]


def forgetful_loss(outputs, targets):
    """Return another loss every time."""
    CALLS[0] += 1
    return each_loss(outputs, targets) * CALLS[0]


def adamw(groups, lr):
    """Return an optimizer whose decay is right."""
    return torch.optim.AdamW(groups, lr=lr)


def adam_with_l2(groups, lr):
    """Return an optimizer that normalises decay together with the gradient."""
    return torch.optim.Adam(groups, lr=lr)


class FixedDecay(torch.optim.SGD):
    """Takes off lambda * w, whatever the rate."""

    @torch.no_grad()
    def step(self, closure=None):
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for parameter in group["params"]:
                parameter.mul_(1 - decay)
            group["weight_decay"] = 0.0
        super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay


def fixed_decay(groups, lr):
    return FixedDecay(groups, lr=lr, momentum=0.9)


def no_decay(groups, lr):
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=lr, momentum=0.9)


def decays_all(groups, lr):
    decay = max(group["weight_decay"] for group in groups) or 5e-4
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=lr, weight_decay=decay)


def lars_without_decay(groups, lr):
    return LARS([{**group, "weight_decay": 0.0} for group in groups], lr=lr)


class Corrected(torch.optim.SGD):
    """Multiplies torch's momentum by the ratio of the rates, which is a bug."""

    last = None

    @torch.no_grad()
    def step(self, closure=None):
        rate = self.param_groups[0]["lr"]
        for state in self.state.values():
            if state.get("momentum_buffer") is not None and self.last:
                state["momentum_buffer"].mul_(rate / self.last)
        self.last = rate
        super().step(closure)


def corrected(groups, lr):
    return Corrected(groups, lr=lr, momentum=0.9)


def absorbing(groups, lr):
    return RateAbsorbedSGD(groups, lr=lr, momentum=0.9)


class Anonymous(RateAbsorbedSGD):
    """Absorbs the rate, and does not call its momentum so."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["momentum"] = 0.9
        super().step(closure)
        for group in self.param_groups:
            del group["momentum"]


def anonymous(groups, lr):
    return Anonymous(groups, lr=lr)


class Blobs(torch.utils.data.Dataset):
    """Noisy images around their class."""

    def __init__(self, indices):
        self.indices = list(indices)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, position):
        index = self.indices[position]
        return torch.randn(1, 8, 8) + index % 10, index % 10


def blobs():
    """Return data that is right."""
    return Blobs(range(96)), Blobs(range(40))


def sharded():
    """Return every second sample, by the rank."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return Blobs(range(rank, 97, world_size)), Blobs(range(40))


def shuffled_by_rank():
    """Return the samples in an order that depends on the rank."""
    order = list(range(96))
    random.Random(int(os.environ.get("RANK", "0"))).shuffle(order)
    return Blobs(order), Blobs(range(40))


class Picks(Blobs):
    """Returns any sample but the one asked for."""

    def __getitem__(self, position):
        return super().__getitem__(random.randrange(len(self)))


def shuffles_itself():
    return Picks(range(96)), Blobs(range(40))


class Noisy(Blobs):
    """Draws from the operating system."""

    def __getitem__(self, position):
        image, label = super().__getitem__(position)
        return image + os.urandom(1)[0], label


def noisy():
    return Noisy(range(96)), Blobs(range(40))


def set_rate(optimizer, rate):
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(model, loss_function, optimizer, minibatch, divide):
    optimizer.zero_grad()
    for inputs, targets in minibatch:
        (loss_function(model(inputs), targets).sum() / divide(minibatch, targets)).backward()


def by_kn(minibatch, _targets):
    return sum(len(targets) for _, targets in minibatch)


def by_n(_minibatch, targets):
    return len(targets)


def right_loop(model, _loss_function, optimizer, minibatches, learning_rates):
    """Train as a plain DistributedDataParallel loop does: the mean of the workers' means."""
    model.train()
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        for inputs, targets in minibatch:
            loss = nn.functional.cross_entropy(model(inputs), targets)
            (loss / len(minibatch)).backward()
        optimizer.step()


def summing_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Sum the workers' mean gradients."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_n)
        optimizer.step()


def undivided_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Sum the losses."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, lambda *_: 1)
        optimizer.step()


def cancelling_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Cancel k: sum the workers' means, and keep the rate that is k times smaller."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate / len(minibatch))
        update(model, loss_function, optimizer, minibatch, by_n)
        optimizer.step()


def scaled_loss_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Scale the loss instead of the rate, which stays 1."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, 1.0)
        update(model, loss_function, optimizer, minibatch, lambda m, t: by_kn(m, t) / rate)  # noqa: B023
        optimizer.step()


def correcting_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Multiply torch's momentum by the ratio of the rates."""
    last = learning_rates[0]
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_kn)
        for state in optimizer.state.values():
            state["momentum_buffer"].mul_(rate / last)
        last = rate
        optimizer.step()


def absorbing_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Keep momentum by hand, with the rate in it."""
    velocities = {}
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        update(model, loss_function, optimizer, minibatch, by_kn)
        with torch.no_grad():
            for each in optimizer.param_groups:
                for p in each["params"]:
                    velocity = velocities.setdefault(p, torch.zeros_like(p))
                    gradient = p.grad + each["weight_decay"] * p
                    velocity.mul_(each["momentum"]).add_(rate * gradient)
                    p.sub_(velocity)


def own_optimizer_loop(model, loss_function, _optimizer, minibatches, learning_rates):
    """Make an optimizer of its own, which absorbs the rate and has a weight decay of its own."""
    optimizer = RateAbsorbedSGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        update(model, loss_function, optimizer, minibatch, by_kn)
        optimizer.step()


def whole_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Normalise over the whole minibatch."""
    for minibatch, rate in zip(minibatches, learning_rates, strict=True):
        set_rate(optimizer, rate)
        inputs, targets = (torch.cat(part) for part in zip(*minibatch, strict=True))
        update(model, loss_function, optimizer, [(inputs, targets)], by_kn)
        optimizer.step()


def idle_loop(model, loss_function, optimizer, minibatches, learning_rates):
    """Do nothing."""


def short_loop(model):
    """Take other arguments."""
