"""Losses, each built to break one rule; and one that is right."""

import torch
from torch import nn

from bigbatch import InputError, Loss, objective

NUM_PIXELS, NUM_CLASSES = 64, 10


def each_loss(outputs, targets):
    """Return one loss a sample: this is right."""
    return nn.functional.cross_entropy(outputs, targets, reduction="none")


CLASS_WEIGHTS = torch.arange(1.0, NUM_CLASSES + 1)


def counted_loss(outputs, targets):
    """Weigh the classes, by count: this is right too."""
    total = nn.functional.cross_entropy(outputs, targets, weight=CLASS_WEIGHTS, reduction="sum")
    return Loss(total, CLASS_WEIGHTS[targets].sum())


def worker_loss(outputs, targets):
    """Return the worker's own weighted mean, by worker: this is right too."""
    return Loss(weighted_mean_loss(outputs, targets), 1)


@objective
def counting_objective(model, batch):
    """Count as above, as an objective."""
    return counted_loss(model(batch[0]), batch[1])


def mean_over_count_loss(outputs, targets):
    """Return the mean where the count divides a sum."""
    loss = counted_loss(outputs, targets)
    return Loss(loss.total / loss.weight, loss.weight)


@objective
def mean_over_count_objective(model, batch):
    """Do so as an objective."""
    return mean_over_count_loss(model(batch[0]), batch[1])


def in_training_mode(model, losses):
    """Return losses that a model has in training mode alone, as detectors do."""
    if not model.training:
        msg = "losses in training mode only"
        raise InputError(msg)
    return losses


@objective
def detector_objective(model, batch):
    """Return one loss a sample, in training mode: this is right."""
    return in_training_mode(model, each_loss(model(batch[0]), batch[1]))


@objective
def mean_detector_objective(model, batch):
    """Return the mean over the samples, by the number of samples."""
    losses = each_loss(model(batch[0]), batch[1])
    return in_training_mode(model, Loss(losses.mean(), len(losses)))


def sum_by_worker_loss(outputs, targets):
    """Return the sum where the number of workers divides a mean."""
    return Loss(each_loss(outputs, targets).sum(), 1)


def square_count_loss(outputs, targets):
    """Count what does not add up over the samples."""
    return Loss(each_loss(outputs, targets).sum(), len(targets) ** 2)


def mean_loss(outputs, targets):
    """Return the mean over a worker's samples."""
    return each_loss(outputs, targets).mean()


def weighted_mean_loss(outputs, targets):
    """Return the mean weighted by class, as torch does."""
    return nn.functional.cross_entropy(outputs, targets, weight=CLASS_WEIGHTS)


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
