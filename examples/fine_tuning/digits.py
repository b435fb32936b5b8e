"""Two tasks on the embedded digits: 0 to 4, on which a network is trained, and 5 to 9, to which it is fine-tuned."""

from importlib.resources import files

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

SPLIT, NUM_CLASSES = 1280, 5


def data(first=0):
    """Return (training dataset, validation dataset) of the five digits from `first` on, as classes 0 to 4."""
    with files("bigbatch.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images = torch.tensor(arrays["images"], dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(arrays["labels"], dtype=torch.long) - first
    chosen = (labels >= 0) & (labels < NUM_CLASSES)
    is_training = torch.arange(len(labels)) < SPLIT
    return tuple(TensorDataset(images[part], labels[part]) for part in (chosen & is_training, chosen & ~is_training))


class Classifier(nn.Module):
    """A backbone of two convolutions, and a head."""

    def __init__(self, head="head"):
        super().__init__()
        self.backbone = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten()),
        )
        self.head_name = head
        self.add_module(head, nn.Linear(128, NUM_CLASSES))

    def forward(self, images):
        """Map images (n, 1, 8, 8) to logits (n, 5)."""
        return self.get_submodule(self.head_name)(self.backbone(images))
