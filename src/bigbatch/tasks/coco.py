"""What faster-coco-eval does for us: COCO's evaluation in C++, and its run-length code of masks."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor

from bigbatch.errors import InputError

KINDS: Final = {"box": "bbox", "mask": "segm"}  # of an AP: ours, and COCO's
ALL_AREAS, MOST_DETECTIONS = 0, -1  # places among the areas all, small, medium, large, and among 1, 10, 100 detections


def load_library() -> Any:  # noqa: ANN401 - a module
    """Return faster-coco-eval.

    Raises:
        InputError: it is not installed.
    """
    try:
        import faster_coco_eval
    except (ImportError, RuntimeError) as error:  # a RuntimeError: it does not fit the other packages
        msg = f"COCO's metrics need faster-coco-eval: pip install 'bigbatch[detection]' ({error})"
        raise InputError(msg) from error
    return faster_coco_eval


def encode(masks: Tensor) -> list[dict[str, Any]]:
    """Return masks (m, height, width) of 0 and 1 in COCO's run-length code, as text."""
    planes = np.asfortranarray(masks.to("cpu").numpy().astype(np.uint8).transpose(1, 2, 0))
    codes = load_library().mask.encode(planes) if len(masks) else []
    return [{"size": list(masks.shape[1:]), "counts": code["counts"].decode()} for code in codes]


def precisions(images: Sequence[Mapping[str, Any]], kind: str) -> np.ndarray:
    """Return COCO's precision of each (threshold of the IoU, recall, category); -1 for a category without objects.

    Images, truth and detections that are equally good come in the order in which they are given.

    Args:
        images: each has `truth` and `found`, which are annotations and results as COCO has them.
        kind: "box" or "mask".
    """
    library = load_library()
    truth = library.COCO(_dataset(images), print_function=_be_silent)
    found = [one | {"image_id": i} for i, image in enumerate(images) for one in image["found"]]
    evaluation = library.COCOeval_faster(truth, truth.loadRes(found), KINDS[kind], print_function=_be_silent)
    evaluation.evaluate()
    evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"]
    return precision[:, :, :, ALL_AREAS, MOST_DETECTIONS]


def _dataset(images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    objects = [one | {"image_id": i} for i, image in enumerate(images) for one in image["truth"]]
    sizes = [image["size"] or (0, 0) for image in images]  # which polygons would need
    return {
        "images": [{"id": i, "height": height, "width": width} for i, (height, width) in enumerate(sizes)],
        "annotations": [one | {"id": number} for number, one in enumerate(objects, 1)],  # 0 would mean "not matched"
        "categories": [{"id": category} for category in sorted({one["category_id"] for one in objects})],
    }


def _be_silent(*_: object) -> None:
    """Stand where COCO prints."""
