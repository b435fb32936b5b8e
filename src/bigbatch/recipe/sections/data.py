"""The section `data`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.errors import InputError
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import (
    MAX_SAMPLES,
    check_at_least,
    check_at_most,
    check_below_one,
    check_choice,
    check_positive,
)
from bigbatch.user_code import is_user_code

AUGMENTATIONS: Final = ("flip", "crop", "random-resized-crop")
MAX_PIXELS: Final = 8_192
BOXES, MASKS, PIXELS = "boxes", "masks", "pixels"
# What the data sets of annotated images can be read for; no other data set has such labels.
LABELS: Final = {"coco": (BOXES, MASKS, PIXELS), "voc": (BOXES,), "mask-folder": (BOXES, PIXELS)}
MAX_TOKENS: Final = 2**24  # of a sequence


@dataclass(frozen=True)
class Data:
    """What the model is trained on.

    Attributes:
        name: "digits", "fashion-mnist", "cifar10", "image-folder", "coco", "voc", "mask-folder", "text" or
            `package.module:callable`. The callable is given `arguments`, and returns (training dataset, validation
            dataset). Each has `len()`, and `[index]` or `read_batch(indices, key)`.
        path: the folder or archive; "" looks in the usual places. An image-folder has its splits in class folders, tar
            files, Parquet files or packs.
        augmentation: any of "flip", "crop" (by padding) and "random-resized-crop" (to `image_size`), in this order.
        image_size: the side of the square that the images of an image-folder, and those labelled by pixels, are cut or
            resized to, in pixels.
        labels: what annotated images (coco, voc) are labelled with. "boxes"; "masks" adds a mask to each box (coco);
            "pixels" is a class for each pixel (coco, mask-folder), with 0 for the background.
        short_sides: what the shorter side of an annotated image is resized to, in pixels. One of several is drawn for
            each training sample, and the validation takes the last. [] leaves images as they are.
        long_side: the most that the longer side becomes then, in pixels.
        num_train_samples: samples of the training split, for plans without the data; 0 to count them. With a `path`
            they are always counted.
        arguments: keyword arguments of your own callable.
        collate: `package.module:callable`, for training and validation. It is given a list of samples, and returns the
            batch. "" stacks the samples as torch's DataLoader does.
        transform: `package.module:callable`, for each batch of the training, on its device. It is given (batch,
            torch.Generator), and returns the batch that is trained on, such as a mixup. "" for none.
        order: `package.module:callable`. It is given an epoch, counted from 0, and returns the numbers of its samples.
            "" shuffles all samples.
        sequence_length: tokens of a sample (text only).
        tokenizer: what the tokens of a text are: "bytes", "characters", a `tokenizer.json` of Hugging Face, or a folder
            of transformers' AutoTokenizer.
        validation_share: the last part of a text, which is validated on, if there is no `val.txt`.

    Raises:
        InputError: a field is out of its range.
    """

    name: str
    path: str = ""
    augmentation: tuple[str, ...] = ()
    image_size: int = 224
    labels: str = BOXES
    short_sides: tuple[int, ...] = ()
    long_side: int = 1_333
    num_train_samples: int = 0
    arguments: Mapping[str, object] = field(default_factory=dict)
    collate: str = ""
    transform: str = ""
    order: str = ""
    sequence_length: int = 256
    tokenizer: str = "bytes"
    validation_share: float = 0.1

    def __post_init__(self) -> None:
        pixels = {"data.image_size": self.image_size, "data.long_side": self.long_side}
        pixels |= {f"data.short_sides[{i}]": side for i, side in enumerate(self.short_sides)}
        samples = {"data.num_train_samples": self.num_train_samples}
        check_positive(pixels)
        check_at_least(0, samples)
        check_at_most(MAX_PIXELS, pixels)
        check_at_most(MAX_SAMPLES, samples)
        for augmentation in self.augmentation:
            check_choice("data.augmentation", augmentation, AUGMENTATIONS)
        self._check_annotated()
        self._check_text()
        check_arguments("data", self.name, self.arguments)
        for name, value in {"collate": self.collate, "transform": self.transform, "order": self.order}.items():
            if value and not is_user_code(value):
                msg = f"data.{name} must be package.module:callable, not '{value}'"
                raise InputError(msg)

    def _check_annotated(self) -> None:
        """Refuse what a data set has no labels for, and resizing and augmentation that do not go with its labels."""
        check_choice("data.labels", self.labels, (BOXES, MASKS, PIXELS))
        possible = LABELS.get(self.name, (BOXES,))
        if self.labels not in possible:
            has = [name for name, labels in LABELS.items() if self.labels in labels]
            msg = f"data.labels '{self.labels}' is for {' and '.join(has)}, not for {self.name}"
            raise InputError(msg)
        if self.short_sides and not self.has_boxes:
            msg = "data.short_sides is for the boxes and masks of coco and voc; leave it out here"
            raise InputError(msg)
        if self.has_boxes and (unfit := set(self.augmentation) - {"flip"}):
            msg = f"augmentation '{min(unfit)}' would lose objects; data with boxes takes flip, and data.short_sides"
            raise InputError(msg)
        if self.has_pixels and "crop" in self.augmentation:
            msg = "augmentation 'crop' is for small images; labelled pixels take random-resized-crop and flip"
            raise InputError(msg)

    @property
    def has_boxes(self) -> bool:
        """Whether it is read as lists of images with their boxes."""
        return self.name in {"coco", "voc"} and self.labels != PIXELS

    def _check_text(self) -> None:
        length, share = {"data.sequence_length": self.sequence_length}, {"data.validation_share": self.validation_share}
        check_positive(length | share)
        check_at_most(MAX_TOKENS, length)
        check_below_one(share)

    @property
    def has_pixels(self) -> bool:
        """Whether it is read as squares with a class for each pixel."""
        return self.name == "mask-folder" or self.labels == PIXELS

    @property
    def user_code(self) -> tuple[str, ...]:
        """The names in it that are the user's own code."""
        return tuple(filter(is_user_code, (self.name, self.collate, self.transform, self.order)))
