"""Losses, each built to break one rule; and one that is right."""

import torch
from torch import nn

NUM_PIXELS, NUM_CLASSES = 64, 10


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
    """Return one loss a sample, but divided by the number of samples."""
    return each_loss(outputs, targets) / len(targets)


def contrastive_loss(outputs, targets):
    """Compare each sample with the mean of the others."""
    return each_loss(outputs - outputs.mean(0), targets)


def penalised_block_loss(outputs, targets):
    """Add a term once a batch, as L2 of something that a model returns would be."""
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
