"""What the sections train: ResNet-50 with random images, or a tiny one to show that a section runs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from bigbatch.checkpoint.manifest import Position, data_path, read_manifest
from bigbatch.checkpoint.saving import Snapshot, save_checkpoint
from bigbatch.checkpoint.state import unflatten
from bigbatch.models import build_model
from bigbatch.models.memory_format import set_memory_format
from bigbatch.step.step import Step

Batch = tuple[Tensor, Tensor]
SEED = 1


@dataclass(frozen=True)
class Task:
    """A training on random images.

    Attributes:
        model: a name.
        image_size: pixels of the side.
        num_classes: of the labels.
        worker_minibatch_size: samples of a worker (n).
        worker_count: workers of a minibatch (k).
        precision: of the forward pass.
        dropout: before the classifier.
    """

    model: str
    image_size: int
    num_classes: int
    worker_minibatch_size: int
    worker_count: int
    precision: str
    dropout: float = 0.0

    @property
    def minibatch_size(self) -> int:
        """Samples per update (kn)."""
        return self.worker_minibatch_size * self.worker_count


LONG = Task("resnet50", 224, 1000, worker_minibatch_size=32, worker_count=8, precision="bfloat16")
SHORT = Task("cifar-resnet8", 8, 10, worker_minibatch_size=2, worker_count=4, precision="float32")


def build(task: Task, device: str) -> nn.Module:
    """Return the model, from the same weights each time."""
    torch.manual_seed(0)
    width = 8 if task.image_size == SHORT.image_size else 0
    shape = {"num_classes": task.num_classes, "in_channels": 3, "width": width, "dropout": task.dropout}
    return set_memory_format(build_model(task.model, **shape).to(device)).train()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of most sections."""
    return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)


def criterion() -> nn.Module:
    """Return the loss of each sample."""
    return nn.CrossEntropyLoss(reduction="none")


def make_step(task: Task, model: nn.Module, optimizer: torch.optim.Optimizer, **options: object) -> Step:
    """Return the exact step of a task."""
    sizes = {"minibatch_size": task.minibatch_size, "worker_minibatch_size": task.worker_minibatch_size}
    return Step(model, criterion(), optimizer, precision=task.precision, seed=SEED, **sizes, **options)


def batches(task: Task, workers: Iterable[int], iteration: int, device: str, *, offset: int = 0) -> list[Batch]:
    """Return the batch of each worker, a function of the iteration and the worker alone.

    Args:
        task: whose sizes they have.
        workers: of the minibatch.
        iteration: of the training.
        device: where they go.
        offset: numbers by which the images are off a new block of memory.
    """
    return [_batch(task, worker, iteration, device, offset) for worker in workers]


def _batch(task: Task, worker: int, iteration: int, device: str, offset: int) -> Batch:
    generator = torch.Generator().manual_seed(1000 * iteration + worker)
    n, size = task.worker_minibatch_size, task.image_size
    images = torch.randn(n, 3, size, size, generator=generator)
    labels = torch.randint(task.num_classes, (n,), generator=generator)
    place = torch.empty(images.numel() + offset, device=device)[offset:].view(images.shape)
    return place.copy_(images), labels.to(device)


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, iteration: int) -> None:
    """Write a checkpoint as a training does."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    snapshot = Snapshot.of(state, Position(iteration, 0, 0, None, "lower"), "")
    folder.mkdir(exist_ok=True)
    save_checkpoint(folder, snapshot, keep=1)


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Read a checkpoint back, and return the number of the next iteration; `train` has its own way, for a recipe."""
    (path,) = folder.glob("iteration-*.json")
    manifest = read_manifest(path)
    with safe_open(data_path(path, manifest), framework="pt") as file:
        structure = file.metadata()["structure"]
        state = unflatten(json.loads(structure), file.get_tensor)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return manifest.iteration
