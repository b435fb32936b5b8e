"""Detectors that are called as torchvision's are: losses of (images, targets) in training, objects of images else."""

from collections.abc import Mapping
from typing import Any, Final

from torch import Tensor, nn

from bigbatch.errors import InputError, first_line
from bigbatch.tasks.fitting import describe

POOLING: Final = "MultiScaleRoIAlign"
PARTS: Final = ("mask", "keypoint")  # that RoI heads may have


def summed_losses(model: nn.Module, images: list[Tensor], targets: list[Any]) -> Tensor:
    """Return the sum of a detector's losses, in the order in which it gives them.

    Raises:
        InputError: it gives none, or its targets lack something.
    """
    if not model.training:
        msg = "a detector of torchvision's kind has losses in training mode only; name a metric such as coco-box-ap"
        raise InputError(msg)
    _check_parts(model, targets)
    _forget_scales(model)
    try:
        losses = model(images, targets)
    except AssertionError as error:  # torchvision's way to refuse targets
        msg = f"the detector refuses the batch: {first_line(error)}"
        raise InputError(msg) from error
    if not (isinstance(losses, Mapping) and losses and all(map(_is_number, losses.values()))):
        msg = (
            "objective 'detection' needs a model that returns a dictionary of losses for model(images, targets), "
            f"not outputs {describe(losses)}; name a detector, or an objective of your own"
        )
        raise InputError(msg)
    total: Tensor = sum(losses.values())  # type: ignore[assignment]  # there is at least one
    return total


def objects(model: nn.Module, images: list[Tensor]) -> list[dict[str, Tensor]]:
    """Return the objects that a detector in evaluation mode finds in each image.

    It is given each image alone, as torchvision's references do. In a batch, smaller images are padded, so that what is
    found in them would depend on the others.

    Raises:
        InputError: it gives something else.
    """
    return [_objects_in(model, image) for image in images]


def _objects_in(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    _forget_scales(model)
    found = model([image])
    if not (isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict)):
        msg = (
            "objective 'detection' needs a model that returns a list of dictionaries for model(images) in evaluation "
            f"mode, not outputs {describe(found)}; name a detector, or set evaluation.predict"
        )
        raise InputError(msg)
    objects_found: dict[str, Tensor] = found[0]
    return objects_found


def _is_number(loss: object) -> bool:
    return isinstance(loss, Tensor) and loss.numel() == 1


def _check_parts(model: nn.Module, targets: list[Any]) -> None:
    heads: Any = getattr(model, "roi_heads", None)
    for part in PARTS:
        has_part = getattr(heads, f"has_{part}", None)
        if callable(has_part) and has_part() and not all(f"{part}s" in target for target in targets):
            way = 'set data.labels = "masks"' if part == "mask" else "use data of your own that has them"
            msg = f"the model has a head for {part}s, and the targets have no '{part}s'; {way}"
            raise InputError(msg)


def _forget_scales(model: nn.Module) -> None:
    """Let pooling layers find the scales of the feature maps again.

    They keep those of the first batch, which is another one in each process. Of images below 75 pixels they can differ.
    """
    pooling: Any
    for pooling in model.modules():
        if type(pooling).__name__ == POOLING:
            pooling.scales = None
