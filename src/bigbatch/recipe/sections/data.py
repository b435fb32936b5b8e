"""The section `data`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most, check_choice, check_positive
from bigbatch.user_code import is_user_code

AUGMENTATIONS: Final = ("flip", "crop", "random-resized-crop")
MAX_PIXELS: Final = 8_192


@dataclass(frozen=True)
class Data:
    """What the model is trained on.

    Attributes:
        name: "digits", "fashion-mnist", "cifar10", "image-folder" or `package.module:callable`. The callable is given
            `arguments`, and returns (training dataset, validation dataset). Each has `len()`, and `[index]` or
            `read_batch(indices, key)`.
        path: the folder or archive; "" looks in the usual places.
        augmentation: any of "flip", "crop" (by padding) and "random-resized-crop" (image-folder), in this order.
        image_size: the side of the square that an image-folder's images are cut to, in pixels.
        num_train_samples: samples of the training split, for plans without the data; 0 to count them. With a `path`
            they are always counted.
        arguments: keyword arguments of your own callable.
        collate: `package.module:callable`, for training and validation. It is given a list of samples, and returns the
            batch. "" stacks the samples as torch's DataLoader does.
        transform: `package.module:callable`, for each batch of the training, on its device. It is given (batch,
            torch.Generator), and returns the batch that is trained on, such as a mixup. "" for none.
        order: `package.module:callable`. It is given an epoch, counted from 0, and returns the numbers of its samples.
            "" shuffles all samples.

    Raises:
        InputError: a field is out of its range.
    """

    name: str
    path: str = ""
    augmentation: tuple[str, ...] = ()
    image_size: int = 224
    num_train_samples: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)
    collate: str = ""
    transform: str = ""
    order: str = ""

    def __post_init__(self) -> None:
        pixels, samples = {"data.image_size": self.image_size}, {"data.num_train_samples": self.num_train_samples}
        check_positive(pixels)
        check_at_least(0, samples)
        check_at_most(MAX_PIXELS, pixels)
        check_at_most(MAX_SAMPLES, samples)
        for augmentation in self.augmentation:
            check_choice("data.augmentation", augmentation, AUGMENTATIONS)
        check_arguments("data", self.name, self.arguments)
        for name, value in {"collate": self.collate, "transform": self.transform, "order": self.order}.items():
            if value and not is_user_code(value):
                msg = f"data.{name} must be package.module:callable, not '{value}'"
                raise InputError(msg)

    @property
    def user_code(self) -> tuple[str, ...]:
        """The names in it that are the user's own code."""
        return tuple(filter(is_user_code, (self.name, self.collate, self.transform, self.order)))
