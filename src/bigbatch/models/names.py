"""The names that a recipe may give a model; without torch, so that a plan needs none."""

import re
from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.user_code import is_user_code

IMAGENET: Final = re.compile(r"resnet(18|34|50|101)")
CIFAR: Final = re.compile(r"cifar-resnet([0-9]{1,4})")
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
)


def is_model_name(name: str) -> bool:
    """Tell whether bigbatch builds a model of that name.

    >>> [is_model_name(name) for name in ("resnet50", "cifar-resnet26", "cifar-resnet9", "vgg")]
    [True, True, False, False]
    """
    small = CIFAR.fullmatch(name)
    if small:
        depth = int(small[1])
        return 8 <= depth <= 1202 and depth % 6 == 2  # noqa: PLR2004 - depth 6n+2, n >= 1; He et al. stop at 1202
    return IMAGENET.fullmatch(name) is not None


def check_model_name(name: str) -> None:
    """Refuse a name that is neither ours nor `package.module:callable`.

    Raises:
        InputError: with the nearest name.
    """
    if not (is_user_code(name) or is_model_name(name)):
        msg = f"unknown model '{name}'; {nearest(name, list(EXAMPLES))} (or package.module:callable)"
        raise InputError(msg)
