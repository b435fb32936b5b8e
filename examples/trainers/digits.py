"""The digits of the package as torch datasets, for the examples beside this file."""

from importlib.resources import files

import numpy as np
import torch
from torch.utils.data import Subset, TensorDataset


def digits():
    """Return (training dataset, validation dataset) of samples (image of shape (64,), class)."""
    with files("bigbatch.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"].reshape(-1, 64), arrays["labels"]
    samples = TensorDataset(torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels, dtype=torch.long))
    return Subset(samples, range(1280)), Subset(samples, range(1280, 1797))
