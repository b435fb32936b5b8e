"""Friedman's first function (Friedman 1991, Annals of Statistics 19, section 4.3): five of ten inputs matter."""

import math

import torch
from torch import nn
from torch.utils.data import TensorDataset


def data(num_train=4096, num_validation=1024, noise=1.0):
    """Return (training dataset, validation dataset) of samples (inputs of shape (10,), target of shape (1,))."""
    x = torch.rand(num_train + num_validation, 10)
    y = 10 * torch.sin(math.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    y = (y + noise * torch.randn(len(x))).unsqueeze(1)
    return TensorDataset(x[:num_train], y[:num_train]), TensorDataset(x[num_train:], y[num_train:])


def model(width=64):
    """Return a small network."""
    return nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))


class RootMeanSquaredError:
    """The square root of the mean squared error; no model comes below the noise."""

    name, unit, better = "root-mean-squared-error", "", "lower"

    def measure(self, outputs, targets):
        """Return the sum of the squares, and their number."""
        return (outputs - targets).double().square().sum().item(), targets.numel()

    def result(self, parts):
        """Return the root of their mean."""
        squares, counts = zip(*parts, strict=True)
        return math.sqrt(sum(squares) / sum(counts))
