"""Images of rectangles of two kinds, in batches as torchvision has them, and a metric of what is found."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CLASSES = ("background", "bright", "dark")
RECIPE = """
name = "tiny"
minibatch_size = 6
worker_minibatch_size = 2
iterations = {iterations}
objective = "detection"
metrics = ["tiny_objects:NumFound"]

[reference]
minibatch_size = 6
learning_rate = 0.01

[model]
name = "{model}"
{fields}
[model.arguments]
{arguments}
[data]
name = "tiny_objects:rectangles"
collate = "tiny_objects:collate"

[evaluation]
part_size = 3
"""


class Rectangles(torch.utils.data.Dataset[Any]):
    """Images of different sizes with up to three rectangles; every fifth image has none."""

    classes = CLASSES

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed + index)
        height, width = (64 + 16 * int(torch.randint(0, 3, (), generator=generator)) for _ in range(2))
        image = torch.rand(3, height, width, generator=generator) * 0.2 + 0.4
        number = 0 if index % 5 == 4 else 1 + int(torch.randint(0, 3, (), generator=generator))
        corners = torch.randint(0, 30, (number, 2), generator=generator)
        sizes = torch.randint(12, 34, (number, 2), generator=generator)
        boxes = torch.cat([corners, corners + sizes], 1).float()
        labels = torch.randint(1, 3, (number,), generator=generator)
        masks = torch.zeros(number, height, width, dtype=torch.uint8)
        for i, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
            masks[i, top:bottom, left:right] = 1
            image[:, top:bottom, left:right] = 1.0 if labels[i] == 1 else 0.0
        return image, {"boxes": boxes, "labels": labels, "masks": masks, "image_id": torch.tensor(index)}


def rectangles(num_train: int = 15, num_validation: int = 5) -> tuple[Rectangles, Rectangles]:
    """Return training and validation data."""
    return Rectangles(num_train, 0), Rectangles(num_validation, 1000)


def collate(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return a batch of detection."""
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


class NumFound:
    """How many objects are found, and where: a number that depends on all that is predicted."""

    name, unit, better = "num-found", "", "higher"

    def measure(self, outputs: list[dict[str, Tensor]], targets: list[Any]) -> list[float]:
        """Return the sum of the boxes' places, each weighted by its score and label."""
        assert len(outputs) == len(targets)
        return [float((found["scores"] * found["labels"] * found["boxes"].sum(1)).double().sum()) for found in outputs]

    def result(self, parts: list[list[float]]) -> float:
        """Return the sum."""
        return sum(map(sum, parts))


def write_recipe(folder: Path, model: str, arguments: str = "", fields: str = "", iterations: int = 3) -> Path:
    """Write a recipe that trains a detector on the rectangles."""
    path = folder / "tiny.toml"
    path.write_text(RECIPE.format(model=model, arguments=arguments, fields=fields, iterations=iterations))
    return path
