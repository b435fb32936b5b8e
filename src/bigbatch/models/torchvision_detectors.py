"""What torchvision's detectors do to images before they look at them."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def keep_image_sizes(model: nn.Module, arguments: Mapping[str, object]) -> nn.Module:
    """Let a detector take images as they are, as the data resizes them; return it.

    By default it would resize each to a shorter side of 800 pixels, also in evaluation. SSD keeps its fixed size. So
    does a detector that was given `min_size` or `max_size`.
    """
    transform: Any = model.transform
    if transform.fixed_size is None and not {"min_size", "max_size"} & arguments.keys():
        transform.resize = _as_it_is
    return model


def _as_it_is(image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor] | None]:
    return image, target
