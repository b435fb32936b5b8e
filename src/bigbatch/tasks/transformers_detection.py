"""Detectors of transformers: batches as they want them, their losses, and what they find in the images' own pixels.

It does what their image processors do, with torch alone. A box is relative to its own image, without the padding, as
in DETR's own code.
"""

import math
import sys
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.models.transformers_detectors import SQUARE, Conventions, check_type

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's colours
SIZES: Final = ("anchor_image_size", "image_size")  # in a configuration, if it says a size
NOT_A_BOX: Final = "boxes1 must be"  # transformers' words for a predicted box that is NaN


def is_of_transformers(model: nn.Module) -> bool:
    """Tell whether a model is one of transformers."""
    return hasattr(getattr(model, "config", None), "model_type")


def summed_losses(model: nn.Module, images: list[Tensor], targets: list[Any]) -> Tensor:
    """Return the weighted sum of a detector's losses; NaN if it predicts NaN.

    Raises:
        InputError: the loss would be divided by the boxes of several processes, or the type is not known.
    """
    config: Any = model.config
    conventions = check_type(config.model_type)
    if conventions.asks_accelerate:
        _check_alone(config.model_type)
    labels = [_labels(image, target) for image, target in zip(images, targets, strict=True)]
    try:
        outputs = model(**_inputs(config, conventions, images), labels=labels)
    except ValueError as error:
        if not str(error).startswith(NOT_A_BOX):
            raise
        return torch.stack([parameter.sum() for parameter in model.parameters()]).sum() * math.nan
    total: Tensor = outputs.loss
    return total


def objects(model: nn.Module, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Return the boxes, scores and labels that a detector finds in each image, as many as it has queries."""
    config: Any = model.config
    conventions = check_type(config.model_type)
    find = _best_class if conventions.has_no_object else _best_pairs
    # An image alone has no padding, so what is found does not depend on the images beside it.
    groups = [[image] for image in images] if conventions.pads else [images]
    found = []
    for group in groups:
        outputs = model(**_inputs(config, conventions, group))
        for logits, boxes, image in zip(outputs.logits, outputs.pred_boxes, group, strict=True):
            found.append(find(logits.float(), _corners(boxes.float()) * _frame(image).tile(2)))
    return found


def _inputs(config: Any, conventions: Conventions, images: list[Tensor]) -> dict[str, Tensor]:  # noqa: ANN401 - of transformers
    """Return the images as one tensor, and where a model pads them, which pixels are theirs."""
    if conventions.normalises:
        mean, deviation = (images[0].new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        images = [(image - mean) / deviation for image in images]
    if not conventions.pads:
        size = _square(config)
        return {"pixel_values": torch.stack([_resized(image, size) for image in images])}
    height, width = (max(image.shape[i] for image in images) for i in (1, 2))
    paddings = [(0, width - image.shape[2], 0, height - image.shape[1]) for image in images]
    masks = [torch.ones_like(image[0], dtype=torch.int64) for image in images]
    return {
        "pixel_values": torch.stack(list(map(functional.pad, images, paddings))),
        "pixel_mask": torch.stack(list(map(functional.pad, masks, paddings))),
    }


def _square(config: Any) -> tuple[int, int]:  # noqa: ANN401 - of transformers
    """Return the height and width that images are resized to: the first size that the configuration says."""
    found = next((size for name in SIZES if (size := getattr(config, name, None))), SQUARE)
    height, width = (found, found) if isinstance(found, int) else found
    return int(height), int(width)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[1:] == size:
        return image
    return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]


def _labels(image: Tensor, target: Any) -> dict[str, Tensor]:  # noqa: ANN401 - a target
    """Return a target as transformers has it: classes from 0, boxes (centre, width, height) from 0 to 1."""
    first, last = target["boxes"].reshape(-1, 2, 2).unbind(1)
    boxes = torch.cat([(first + last) / 2, last - first], 1)
    return {"class_labels": target["labels"] - 1, "boxes": boxes / _frame(image).tile(2)}


def _corners(boxes: Tensor) -> Tensor:
    centre, lengths = boxes[:, :2], boxes[:, 2:]
    return torch.cat([centre - lengths / 2, centre + lengths / 2], 1)


def _frame(image: Tensor) -> Tensor:
    """Return an image's width and height."""
    return torch.tensor([image.shape[2], image.shape[1]], dtype=image.dtype, device=image.device)


def _best_class(logits: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Return the best class of each query, but "no object"."""
    scores, labels = logits.softmax(1)[:, :-1].max(1)
    return {"boxes": boxes, "scores": scores, "labels": labels + 1}


def _best_pairs(logits: Tensor, boxes: Tensor) -> dict[str, Tensor]:
    """Return the best pairs of a query and a class, as many as there are queries."""
    num_queries, num_classes = logits.shape
    scores, pairs = logits.sigmoid().flatten().topk(num_queries)
    return {"boxes": boxes[pairs // num_classes], "scores": scores, "labels": pairs % num_classes + 1}


def _check_alone(model_type: str) -> None:
    state = getattr(sys.modules.get("accelerate.state"), "PartialState", None)
    if state is not None and state._shared_state:  # noqa: SLF001 - what transformers asks, too
        msg = (
            f"the loss of transformers' '{model_type}' is divided by the boxes of all processes while accelerate is in "
            "use (its PartialState), so it depends on how many there are; leave accelerate out, or take RT-DETR"
        )
        raise InputError(msg)
