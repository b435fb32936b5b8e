"""What is trained: the same for every racer."""

import os
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from bigbatch.models.resnet import cifar_resnet, imagenet_resnet

N: Final = 32  # samples of a worker
RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
SAMPLES: Final = 8_192


@dataclass(frozen=True)
class Task:
    """A model and its images.

    Attributes:
        name: of it.
        minibatch_size: samples of an update, over all processes.
        channels: of an image.
        side: of an image, in pixels.
    """

    name: str
    minibatch_size: int
    channels: int
    side: int

    def model(self) -> nn.Module:
        """Return the model, with the same first weights everywhere."""
        torch.manual_seed(0)
        if self.name == "resnet18":
            return imagenet_resnet(18, num_classes=10, width=16)
        return cifar_resnet(20 if self.name == "resnet20" else 8, in_channels=self.channels)

    def samples(self) -> TensorDataset:
        """Return random images and labels."""
        generator = torch.Generator().manual_seed(1)
        images = torch.randn(SAMPLES, self.channels, self.side, self.side, generator=generator)
        return TensorDataset(images, torch.randint(10, (SAMPLES,), generator=generator))

    @property
    def parts(self) -> int:
        """Batches that a process accumulates into one update."""
        return self.minibatch_size // N // processes()


TASKS: Final = {
    task.name: task
    for task in (
        Task("resnet8", 256, 1, 28),  # the preset fashion-mnist's shape
        Task("resnet20", 256, 3, 32),  # the preset cifar10's
        Task("resnet18", 256, 3, 64),  # the preset imagenette's
    )
}


def processes() -> int:
    """Return how many processes race together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def sgd(model: nn.Module) -> torch.optim.SGD:
    """Return the optimizer."""
    return torch.optim.SGD(model.parameters(), RATE, MOMENTUM, nesterov=True, weight_decay=DECAY)


def loss_of(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch."""
    return nn.functional.cross_entropy(model(images), labels)
