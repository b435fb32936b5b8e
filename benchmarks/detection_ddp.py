"""What the number of processes changes when a detector trains: under plain DDP, and under bigbatch.

    python benchmarks/detection_ddp.py

The same small detectors see the same minibatches of 4 images of one size, which have 1, 1, 6 and 8 objects, for 5
updates. Plain DDP gives 4 images to one process, or 2 to each of two. bigbatch has two workers of 2 images for either.
Batch normalisation is frozen, so nothing but the losses and what they draw can make a difference.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.models import build_model
from bigbatch.processes.join import Machine, joined
from bigbatch.step.step import Step
from bigbatch.tasks.losses import OBJECTIVES
from card import write_card

TITLE: Final = "A detector on 1 and on 2 processes: plain DDP, and bigbatch"
NUM_OBJECTS: Final = (1, 1, 6, 8)
NUM_UPDATES, SIZE = 5, 64
RATE, LARGEST_NORM = 0.005, 1.0  # of the gradient; larger ones are clipped
RESNET: Final = {"model_type": "rt_detr_resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 32, 64]}
RT_DETR: Final = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 20,
    "encoder_hidden_dim": 32,
    "encoder_in_channels": [16, 32, 64],
    "decoder_in_channels": [32, 32, 32],
    "anchor_image_size": [SIZE, SIZE],
    "dropout": 0.0,
    "backbone_config": {
        **RESNET,
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    },
}
MODELS: Final = {
    "RetinaNet": ("retinanet-resnet18", {}),
    "FCOS": ("fcos-resnet18", {}),
    "Mask R-CNN": ("mask-rcnn-resnet18", {}),
    "RT-DETR v2": ("transformers/rt_detr_v2", {**RT_DETR, "num_denoising": 10}),
    "RT-DETR v2, no denoising": ("transformers/rt_detr_v2", {**RT_DETR, "num_denoising": 0}),
}
DETECTION: Final = OBJECTIVES["detection"]


class Whole(nn.Module):
    """A model and its objective, as DDP wraps them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Any) -> Tensor:  # noqa: ANN401 - images and targets
        """Return the mean loss."""
        loss = DETECTION(self.model, batch)
        return loss.total / loss.weight


def main() -> None:
    """Measure with one and with two processes, and write the card; or be one of these processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--found", type=Path, help="where a process writes what it has found")
    found = parser.parse_args().found
    if found:
        with joined() as machine:
            measure(found, machine)
        return
    with tempfile.TemporaryDirectory() as folder:
        one, two = (torch.load(run(Path(folder), world_size)) for world_size in (1, 2))
    rows = [row(name, way, one[name][way], two[name][way]) for name in MODELS for way in ("plain DDP", "bigbatch")]
    write_card("detection_ddp", TITLE, rows, table(rows))


def run(folder: Path, world_size: int) -> Path:
    """Run the processes, and return the file that the first one writes."""
    found = folder / f"{world_size}.pt"
    places = {
        "WORLD_SIZE": world_size,
        "LOCAL_WORLD_SIZE": world_size,
        "BIGBATCH_STORE": folder / f"store-{world_size}",
    }
    processes = []
    for rank in range(world_size):
        place = {key: str(value) for key, value in {**places, "RANK": rank, "LOCAL_RANK": rank}.items()}
        command = [sys.executable, __file__, "--found", str(found)]
        processes.append(subprocess.Popen(command, env={**os.environ, **place}))
    if any(process.wait() for process in processes):
        sys.exit("a process failed")
    return found


def measure(found: Path, machine: Machine) -> None:
    """Train each detector in both ways; the first process writes what it has found."""
    results = {
        name: {"plain DDP": train_plain(build(*model), machine), "bigbatch": train_exact(build(*model))}
        for name, model in MODELS.items()
    }
    if machine.processes.rank == 0:
        torch.save(results, found)


def build(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a small detector whose batch normalisation is frozen."""
    torch.manual_seed(0)
    width = 0 if "/" in name else 16
    model = build_model(name, num_classes=3, in_channels=3, task="detection", width=width, arguments=arguments)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def train_plain(model: nn.Module, machine: Machine) -> dict[str, Any]:
    """Train as a plain loop over DDP does."""
    world_size, rank = machine.processes.world_size, machine.processes.rank
    whole: nn.Module = Whole(model)
    wrapped = DistributedDataParallel(whole, find_unused_parameters=True) if world_size > 1 else whole
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    share = len(NUM_OBJECTS) // world_size
    first: Tensor | None = None
    for update in range(NUM_UPDATES):
        images, targets = minibatch(update)
        optimizer.zero_grad()
        torch.manual_seed(update * world_size + rank)
        mine = slice(rank * share, (rank + 1) * share)
        wrapped((images[mine], targets[mine])).backward()
        first = gradients(model) if first is None else first
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
        optimizer.step()
    return outcome(model, first)


def train_exact(model: nn.Module) -> dict[str, Any]:
    """Train with bigbatch: two workers of two images."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    first: Tensor | None = None
    with Step(model, DETECTION, optimizer, minibatch_size=len(NUM_OBJECTS), worker_minibatch_size=2) as step:
        for update in range(NUM_UPDATES):
            images, targets = minibatch(update)
            step.backward([(images[2 * j : 2 * j + 2], targets[2 * j : 2 * j + 2]) for j in step.workers])
            first = gradients(model) if first is None else first
            nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
            optimizer.step()
    return outcome(model, first)


def minibatch(update: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return the same minibatch in every process."""
    generator = torch.Generator().manual_seed(update)
    images, targets = [], []
    for num_objects in NUM_OBJECTS:
        corners = torch.randint(0, SIZE // 2, (num_objects, 2), generator=generator)
        lengths = torch.randint(10, SIZE // 2, (num_objects, 2), generator=generator)
        boxes, labels = torch.cat([corners, corners + lengths], 1), 1 + torch.arange(num_objects) % 2
        image, masks = torch.rand(3, SIZE, SIZE, generator=generator), torch.zeros(num_objects, SIZE, SIZE).byte()
        for mask, (left, top, right, bottom), label in zip(masks, boxes.tolist(), labels.tolist(), strict=True):
            mask[top:bottom, left:right] = 1
            image[:, top:bottom, left:right] = label - 1.0
        images.append(image)
        targets.append({"boxes": boxes.float(), "labels": labels, "masks": masks})
    return images, targets


def gradients(model: nn.Module) -> Tensor:
    """Return all gradients in one vector."""
    parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]
    return torch.cat([part.double().flatten() for part in parts])


def outcome(model: nn.Module, first: Tensor | None) -> dict[str, Any]:
    """Return the first gradient, the last weights and their hash."""
    weights = torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])
    return {"gradient": first, "weights": weights, "sha256": weights_sha256(model.state_dict())}


def row(name: str, way: str, one: dict[str, Any], two: dict[str, Any]) -> dict[str, Any]:
    """Compare one process with two."""
    hashes = [found["sha256"][:8] for found in (one, two)]
    differences = {key: float((one[key] - two[key]).norm() / one[key].norm()) for key in ("gradient", "weights")}
    return {"model": name, "way": way, "hashes": hashes, **differences}


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    lines = [
        "| detector | trained by | first gradient differs by | weights after 5 updates by | their hashes, p = 1, 2 |",
        "|---|---|---|---|---|",
    ]
    for found in rows:
        numbers = [f"{found[key]:.1e}" if found[key] else "0" for key in ("gradient", "weights")]
        lines.append(f"| {found['model']} | {found['way']} | {' | '.join(numbers)} | {', '.join(found['hashes'])} |")
    return "\n".join([*lines, "", __doc__.split("\n\n")[2].replace("\n", " ")])


if __name__ == "__main__":
    main()
