"""The section `data`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most, check_choice, check_positive

AUGMENTATIONS: Final = ("flip", "crop", "random-resized-crop")
MAX_PIXELS: Final = 8_192


@dataclass(frozen=True)
class Data:
    """What the model is trained on.

    Attributes:
        name: digits, fashion-mnist, cifar10, image-folder; or `package.module:callable`, called with `arguments`.
        path: the folder or archive; "" looks in the usual places.
        augmentation: any of "flip", "crop" (by padding), "random-resized-crop" (image-folder), in this order.
        image_size: pixels of the square that an image-folder's images are cut to.
        num_train_samples: samples of the training split, if they cannot be counted without the data; 0 to count them.
        arguments: keyword arguments of the user's own callable.

    Raises:
        InputError: a field is out of its range.
    """

    name: str
    path: str = ""
    augmentation: tuple[str, ...] = ()
    image_size: int = 224
    num_train_samples: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pixels, samples = {"data.image_size": self.image_size}, {"data.num_train_samples": self.num_train_samples}
        check_positive(pixels)
        check_at_least(0, samples)
        check_at_most(MAX_PIXELS, pixels)
        check_at_most(MAX_SAMPLES, samples)
        for augmentation in self.augmentation:
            check_choice("data.augmentation", augmentation, AUGMENTATIONS)
        check_arguments("data", self.name, self.arguments)
