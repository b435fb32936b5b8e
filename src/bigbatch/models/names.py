"""The names that a recipe may give a model; without torch, so that a plan needs none."""

import re
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.user_code import is_user_code

IMAGENET: Final = re.compile(r"resnet(18|34|50|101)")
CIFAR: Final = re.compile(r"cifar-resnet([0-9]{1,4})")
DETECTOR: Final = re.compile(r"(mask-rcnn|faster-rcnn|retinanet|fcos)-resnet(18|34|50|101)")
LIBRARY: Final = re.compile(r"(torchvision|timm|transformers)/([A-Za-z0-9][\w.-]*)", re.ASCII)
DETECTION: Final = "detection"  # the objective
EXAMPLES: Final = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "cifar-resnet8",
    "cifar-resnet14",
    "cifar-resnet20",
    "cifar-resnet32",
    "cifar-resnet44",
    "cifar-resnet56",
    "cifar-resnet110",
    "mask-rcnn-resnet50",
    "faster-rcnn-resnet50",
    "retinanet-resnet50",
    "fcos-resnet50",
    "torchvision/resnet50",
    "timm/resnet50",
    "transformers/gpt2",
)


def is_model_name(name: str) -> bool:
    """Tell whether bigbatch builds a model of that name; which names a library has, it knows itself.

    >>> [is_model_name(name) for name in ("resnet50", "cifar-resnet26", "cifar-resnet9", "vgg")]
    [True, True, False, False]
    >>> [is_model_name(name) for name in ("retinanet-resnet18", "timm/vit_tiny_patch16_224", "keras/vgg")]
    [True, True, False]
    """
    small = CIFAR.fullmatch(name)
    if small:
        depth = int(small[1])
        return 8 <= depth <= 1202 and depth % 6 == 2  # noqa: PLR2004 - depth 6n+2, n >= 1; He et al. stop at 1202
    return any(pattern.fullmatch(name) for pattern in (IMAGENET, DETECTOR, LIBRARY))


def is_detector(name: str) -> bool:
    """Tell whether a name is that of a detector over a residual network of bigbatch."""
    return DETECTOR.fullmatch(name) is not None


def is_of_library(name: str) -> bool:
    """Tell whether a name is that of a model of a library."""
    return LIBRARY.fullmatch(name) is not None


def takes_arguments(name: str) -> bool:
    """Tell whether the model has keyword arguments of its own; a residual network of ours has fields in their place."""
    return is_user_code(name) or is_detector(name) or is_of_library(name)


def check_task(name: str, task: str) -> None:
    """Refuse a detector of ours for another task, and a network of ours that is none for detection.

    Args:
        name: of the model.
        task: the recipe's objective, or its loss.

    Raises:
        InputError: says what to set.
    """
    if is_user_code(name) or is_user_code(task) or is_of_library(name):
        return
    if is_detector(name) and task != DETECTION:
        msg = f"model '{name}' is a detector; set objective = \"{DETECTION}\""
        raise InputError(msg)
    if task == DETECTION and not is_detector(name):
        msg = f"objective '{DETECTION}' needs a detector, not model '{name}'; such as retinanet-resnet50"
        raise InputError(msg)


def check_model_name(name: str) -> None:
    """Refuse a name that is neither ours nor `package.module:callable`.

    Raises:
        InputError: with the nearest name.
    """
    if not (is_user_code(name) or is_model_name(name)):
        msg = f"unknown model '{name}'; {nearest(name, list(EXAMPLES))} (or LIBRARY/NAME, or package.module:callable)"
        raise InputError(msg)
