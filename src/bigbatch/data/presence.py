"""Whether data is where a recipe says, told without reading it: before many runs are started."""

from pathlib import Path
from typing import Final

from bigbatch.data.annotated_splits import check_both_are_there
from bigbatch.data.image_files.splits import TRAIN, VALIDATION, find_split
from bigbatch.data.mask_listing import find_masks
from bigbatch.data.text_files import find_texts
from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder
from bigbatch.recipe import Data

IMAGE_FOLDER: Final = (
    "this data needs a folder: --set data.path=FOLDER, with train/ and val/ class folders, tar files or packs"
)
CIFAR10: Final = (
    "set data.path to cifar-10-python.tar.gz or cifar-10-binary.tar.gz (cs.toronto.edu/~kriz/cifar.html), "
    "to its unpacked folder, or to a folder with train/CLASS and test/CLASS images"
)


def check_presence(recipe: Data) -> None:
    """Refuse a folder or a file that is not there. What is downloaded, or the user's own code makes, is not looked for.

    Raises:
        InputError: with what to do.
    """
    if recipe.name == "image-folder":
        _check_image_folder(recipe.path)
    elif recipe.name == "cifar10":
        _check_cifar10(recipe.path)
    elif recipe.name in {"coco", "voc"}:
        check_both_are_there(recipe)
    elif recipe.name == "mask-folder":
        for is_training in (True, False):
            find_masks(recipe.path, is_training=is_training)
    elif recipe.name == "text":
        find_texts(recipe.path)


def _check_image_folder(path: str) -> None:
    if not path:
        raise InputError(IMAGE_FOLDER)
    for names in (TRAIN, VALIDATION):
        find_split(Path(path), names)


def _check_cifar10(path: str) -> None:
    if not path:
        msg = f"cifar10 needs its data: {CIFAR10}"
        raise InputError(msg)
    if not (is_file(Path(path)) or is_folder(Path(path))):
        msg = f"{path} does not hold CIFAR-10; {CIFAR10}"
        raise InputError(msg)
