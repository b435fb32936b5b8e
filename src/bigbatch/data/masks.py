"""Masks of an object's outline, as COCO's own tools draw them: faster-coco-eval has those."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.annotations import AnnotatedImage, Annotation
from bigbatch.errors import InputError


def run_length_code(annotation: Annotation, image: AnnotatedImage) -> dict[str, Any]:
    """Return an object's mask in its image as COCO's compressed code: {"size": [height, width], "counts": text}."""
    code = _encode(annotation, image)
    return {"size": [image.height, image.width], "counts": code["counts"].decode()}


def decode_masks(annotations: Sequence[Annotation], image: AnnotatedImage) -> NDArray[np.uint8]:
    """Return the masks of an image's objects, 0 or 1, of shape (objects, height, width)."""
    if not annotations:
        return np.zeros((0, image.height, image.width), np.uint8)
    masks: NDArray[np.uint8] = coco_masks().decode([_encode(one, image) for one in annotations])
    return masks.transpose(2, 0, 1)


def _encode(annotation: Annotation, image: AnnotatedImage) -> dict[str, Any]:
    tools, shape = coco_masks(), annotation.segmentation
    if isinstance(shape, tuple):  # several polygons are parts of one object
        parts = tools.frPyObjects([list(polygon) for polygon in shape], image.height, image.width)
        return dict(tools.merge(parts))
    return dict(tools.frPyObjects(shape, image.height, image.width))


def coco_masks() -> ModuleType:
    """Return the module of COCO's masks.

    Raises:
        InputError: it is not installed.
    """
    try:
        from faster_coco_eval.core import mask
    except (ImportError, RuntimeError) as error:
        msg = "masks need faster-coco-eval: pip install 'bigbatch[detection]'"
        raise InputError(msg) from error
    tools: ModuleType = mask
    return tools
