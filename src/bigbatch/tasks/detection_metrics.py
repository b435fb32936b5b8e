"""COCO's average precision (AP) of boxes and of masks, in %."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from bigbatch.errors import InputError
from bigbatch.recipe.metrics import MEASURES
from bigbatch.tasks.coco import encode, load_library, precisions
from bigbatch.tasks.fitting import IncomputableError, are_detections, require

THRESHOLDS: Final = {"ap": slice(None), "ap50": slice(1), "ap75": slice(5, 6)}  # of the IoU: 0.50, 0.55, ..., 0.95
INSIDE: Final = 0.5  # a pixel of a predicted mask that is larger is part of the object


class AveragePrecision:
    """The precision, averaged over 101 recalls, over thresholds of the IoU, and over the categories that occur, in %.

    A target's `annotations` are its truth, in the frame of the original image. What was found is then scaled from
    `size` to `orig_size`, each (height, width). Without annotations, the target's boxes, labels and masks are the
    truth, in the same frame as what was found.

    A box that is NaN or infinite, or has such a score, is left out, as torchvision's models do. So the AP of a model
    that has diverged is 0.

    Args:
        name: "coco-box-ap" or "coco-mask-ap"; with 50 or 75 at its end, at that one threshold of the IoU.

    Raises:
        InputError: faster-coco-eval is not installed.
    """

    def __init__(self, name: str) -> None:
        measure = MEASURES[name]
        self.name, self.unit, self.better = measure.name, measure.unit, measure.better
        _, self.kind, thresholds = name.split("-")
        self.thresholds = THRESHOLDS[thresholds]
        self.masks = ("masks",) if self.kind == "mask" else ()
        load_library()

    def measure(self, outputs: Any, targets: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - refused below
        """Return each image: its number, its size, its truth, and what was found in it."""
        entries = ("boxes", "scores", "labels", *self.masks)
        needs = f"for each image a dictionary of {', '.join(entries)}, and one of its truth"
        require(self.name, outputs, targets, needs, is_met=are_detections(outputs, targets, entries))
        return [self._image(*image) for image in zip(outputs, targets, strict=True)]

    def result(self, parts: Sequence[Any]) -> float:
        """Return the AP of all images, in the order of their numbers.

        Raises:
            IncomputableError: no image has an object.
        """
        images = sorted((image for part in parts for image in part), key=lambda image: int(image["id"]))
        if all(one["iscrowd"] for image in images for one in image["truth"]):
            raise self._undefined(len(images))
        precision = precisions([image | {"found": list(_results(image))} for image in images], self.kind)
        counted = precision[self.thresholds]
        return float(100 * counted[counted > -1].mean())

    def check_objects(self, dataset: Any) -> None:  # noqa: ANN401 - any data set
        """Refuse a data set that says it has no object.

        Raises:
            InputError: `num_objects` is 0.
        """
        if getattr(dataset, "num_objects", None) == 0:
            raise self._undefined(len(dataset))

    def _undefined(self, num_images: int) -> IncomputableError:
        msg = (
            f"{self.name} is undefined: the validation data has no object in its {num_images} images "
            "(crowds do not count); annotate some, or name another metric"
        )
        return IncomputableError(msg)

    def _image(self, found: Mapping[str, Tensor], target: Mapping[str, Any]) -> dict[str, Any]:
        annotations = target["annotations"] if "annotations" in target else self._annotations(target)
        truth = [self._plain(annotation) for annotation in annotations]
        kept = found["scores"].isfinite() & found["boxes"].isfinite().all(1)
        scale, size = _frame(target)
        numbers = [found[name][kept, None].double().cpu() for name in ("labels", "scores")]
        masks = encode(_scaled(found["masks"][kept], size)) if self.masks else []
        self._check_sizes(truth, masks)
        return {
            "id": int(target.get("image_id", 0)),
            "size": size,
            "truth": truth,
            "boxes": torch.cat([*numbers, corner_and_lengths(found["boxes"][kept]) * scale], 1),
            "masks": masks,
        }

    def _annotations(self, target: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a target without annotations as annotations."""
        entries = ("boxes", "labels", *self.masks)
        if lacking := [name for name in entries if name not in target]:
            msg = f"{self.name} needs targets with annotations, or with {', '.join(entries)}; there is no {lacking[0]}"
            raise InputError(msg)
        boxes = corner_and_lengths(target["boxes"])
        crowds = target.get("iscrowd", torch.zeros(len(boxes)))
        columns = {
            "bbox": boxes.tolist(),
            "category_id": target["labels"].tolist(),
            "area": boxes[:, 2:].prod(1).tolist(),
            "iscrowd": crowds.tolist(),
            "segmentation": encode(target["masks"]) if self.masks else [None] * len(boxes),
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _plain(self, annotation: Mapping[str, Any]) -> dict[str, Any]:
        """Return what counts of an annotation, as plain values."""
        mask = annotation.get("segmentation")
        if self.masks and not (isinstance(mask, Mapping) and isinstance(mask.get("counts"), str)):
            msg = f'{self.name} needs annotations with a mask in run-length code; set data.labels = "masks"'
            raise InputError(msg)
        return {
            "bbox": [float(number) for number in annotation["bbox"]],
            "category_id": int(annotation["category_id"]),
            "area": float(annotation["area"]),
            "iscrowd": int(annotation.get("iscrowd", 0)),
            **({"segmentation": mask} if self.masks else {}),
        }

    def _check_sizes(self, truth: Sequence[Mapping[str, Any]], masks: Sequence[Mapping[str, Any]]) -> None:
        sizes = {tuple(one["segmentation"]["size"]) for one in truth if masks} | {tuple(mask["size"]) for mask in masks}
        if len(sizes) > 1:
            msg = (
                f"{self.name}: the masks of one image have the sizes {' and '.join(map(str, sorted(sizes)))}; a target "
                "with annotations also needs size and orig_size, (height, width) of the model's and the original image"
            )
            raise InputError(msg)


def corner_and_lengths(corners: Tensor) -> Tensor:
    """Return boxes (x, y, x, y) as (x, y, width, height), in float64 on the CPU.

    >>> corner_and_lengths(torch.tensor([[1.0, 2.0, 5.0, 4.0]])).tolist()
    [[1.0, 2.0, 4.0, 2.0]]
    """
    numbers = corners.detach().double().cpu().reshape(-1, 4)
    return torch.cat([numbers[:, :2], numbers[:, 2:] - numbers[:, :2]], 1)


def _frame(target: Mapping[str, Any]) -> tuple[Tensor, list[int]]:
    """Return what scales a box to the frame of the truth, and (height, width) of that; none if it is the model's."""
    if not {"annotations", "size", "orig_size"} <= target.keys():
        return torch.ones(4, dtype=torch.float64), []
    size, original = (torch.as_tensor(target[name], dtype=torch.float64).cpu() for name in ("size", "orig_size"))
    return (original / size).flip(0).repeat(2), original.int().tolist()


def _scaled(masks: Tensor, size: list[int]) -> Tensor:
    """Return masks (m, 1, height, width) or (m, height, width) from 0 to 1, scaled to a size and cut at one half."""
    planes = masks.detach().reshape(len(masks), 1, *masks.shape[-2:]).float()
    if size and list(planes.shape[-2:]) != size:
        planes = functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)
    return planes[:, 0] > INSIDE


def _results(image: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what was found in an image, as COCO has results."""
    masks = image["masks"] or [None] * len(image["boxes"])
    for (label, score, *box), mask in zip(image["boxes"].tolist(), masks, strict=True):
        yield {"category_id": int(label), "score": score, **({"segmentation": mask} if mask else {"bbox": box})}
