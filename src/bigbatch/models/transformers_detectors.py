"""What is known of transformers' detectors: how each wants its images, and what it does with its outputs and losses."""

from dataclasses import dataclass
from typing import Final

from bigbatch.errors import InputError, nearest


@dataclass(frozen=True)
class Conventions:
    """How a type of detector is fed, as its image processor does it.

    Attributes:
        pads: images keep their sizes, and a mask says which pixels are theirs; otherwise each is resized to a square.
        normalises: colours are normalised by ImageNet's mean and deviation; otherwise they are from 0 to 1.
        has_no_object: the last class is "no object", under a softmax; otherwise each class has a sigmoid.
        asks_accelerate: its loss is divided by the boxes of all processes where accelerate knows of several.
    """

    pads: bool
    normalises: bool
    has_no_object: bool
    asks_accelerate: bool


LIKE_RT_DETR: Final = Conventions(pads=False, normalises=False, has_no_object=False, asks_accelerate=False)
LIKE_DETR: Final = Conventions(pads=True, normalises=True, has_no_object=True, asks_accelerate=True)
LIKE_DEFORMABLE: Final = Conventions(pads=True, normalises=True, has_no_object=False, asks_accelerate=True)
DETECTORS: Final = {
    "rt_detr": LIKE_RT_DETR,
    "rt_detr_v2": LIKE_RT_DETR,
    "d_fine": LIKE_RT_DETR,
    "detr": LIKE_DETR,
    "table-transformer": LIKE_DETR,
    "conditional_detr": LIKE_DEFORMABLE,
    "deformable_detr": LIKE_DEFORMABLE,
    "yolos": Conventions(pads=False, normalises=True, has_no_object=True, asks_accelerate=True),
}
# Their losses call torch.distributed themselves.
DIVIDED_OVER_PROCESSES: Final = ("lw_detr", "rf_detr")
SQUARE: Final = 640  # pixels, where the configuration says nothing


def check_type(model_type: str) -> Conventions:
    """Return what is known of a type of detector.

    Raises:
        InputError: its loss divides over processes itself, or it is not known.
    """
    if model_type in DIVIDED_OVER_PROCESSES:
        msg = (
            f"the loss of transformers' '{model_type}' is divided by the boxes of all processes, so it depends on how "
            f"many there are; use one of {', '.join(DETECTORS)}"
        )
        raise InputError(msg)
    if model_type not in DETECTORS:
        msg = f"transformers' '{model_type}' is no detector that is known; {nearest(model_type, list(DETECTORS))}"
        raise InputError(msg)
    return DETECTORS[model_type]
