"""The objective "detection": the losses that a detector has itself, and the objects that it predicts.

| a detector divides its losses | total | weight |
|---|---|---|
| for each image by what it finds there, then by the images | the sum over the images | n |
| by what it finds in the whole batch | their sum | 1 |

Of the detectors that are known, the first holds for RetinaNet alone. docs/detection.md has the list.
"""

from types import ModuleType
from typing import Any, Final

from torch import Tensor, nn

from bigbatch.errors import InputError
from bigbatch.step.objective import Loss
from bigbatch.tasks import torchvision_detection, transformers_detection
from bigbatch.tasks.fitting import describe

BY_SAMPLES: Final = "torchvision.models.detection.retinanet"
PAIR: Final = 2
Found = list[dict[str, Tensor]]


def detection_loss(model: nn.Module, batch: Any) -> Loss:  # noqa: ANN401 - refused below
    """Return the sum of a detector's losses, as what it has divided them by says.

    Args:
        model: a detector of transformers, or one that is called as torchvision's are: model(images, targets) gives a
            dictionary of losses.
        batch: (images, targets): a list of images (3, h, w), and a dictionary for each of them, with its `boxes`
            (m, 4) as (x1, y1, x2, y2) in pixels and its `labels` (m,), numbered from 1.

    Raises:
        InputError: the batch is something else, or the model is no detector.
    """
    images, targets = _detection_batch(batch)
    total = _library_of(model).summed_losses(model, images, targets)
    if divides_by_image(model):
        return Loss(total * len(images), len(images))
    return Loss(total, 1)


def detected_objects(model: nn.Module, batch: Any) -> tuple[Found, list[Any]]:  # noqa: ANN401 - refused below
    """Return the objects that a detector finds in each image, in the image's own pixels, and the targets.

    Each image has its `boxes` (m, 4) as (x1, y1, x2, y2), `scores` (m,) and `labels` (m,), and perhaps `masks`
    (m, 1, h, w), from 0 to 1.

    Raises:
        InputError: the batch is none of detection, or the model is no detector.
    """
    images, targets = _detection_batch(batch)
    return _library_of(model).objects(model, images), targets


def _library_of(model: nn.Module) -> ModuleType:
    return transformers_detection if transformers_detection.is_of_transformers(model) else torchvision_detection


def divides_by_image(model: nn.Module) -> bool:
    """Tell whether a detector divides the losses of each image by what it finds there."""
    plain = getattr(model, "_orig_mod", model)  # of torch.compile
    return any(kind.__module__ == BY_SAMPLES for kind in type(plain).__mro__)


def _detection_batch(batch: Any) -> tuple[list[Tensor], list[Any]]:  # noqa: ANN401 - refused here
    is_pair = isinstance(batch, tuple | list) and len(batch) == PAIR
    images, targets = (
        map(list, batch) if is_pair and all(isinstance(part, list | tuple | Tensor) for part in batch) else ([], [])
    )
    are_images = all(isinstance(image, Tensor) and image.ndim == 3 for image in images)  # noqa: PLR2004 - (3, h, w)
    are_objects = all(isinstance(target, dict) and {"boxes", "labels"} <= target.keys() for target in targets)
    if not (images and len(images) == len(targets) and are_images and are_objects):
        msg = (
            "objective 'detection' needs batches of (images, targets): a list of images (3, h, w), and for each a "
            f"dictionary with boxes and labels, not a batch {describe(batch)}; use data 'coco' or 'voc', or a collate"
        )
        raise InputError(msg)
    return images, targets
