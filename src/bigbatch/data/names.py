"""The data sets that a recipe may name, and how many training samples each is known to have."""

from typing import Final

from bigbatch.errors import InputError, nearest
from bigbatch.user_code import is_user_code

# 0: counted in the folder or the file.
NUM_TRAIN_SAMPLES: Final = {
    "digits": 1_280,
    "fashion-mnist": 60_000,
    "cifar10": 50_000,
    "image-folder": 0,
    "coco": 0,
    "voc": 0,
    "mask-folder": 0,
    "text": 0,
}


def check_data_name(name: str) -> None:
    """Refuse a name that is neither ours nor `package.module:callable`.

    Raises:
        InputError: with the nearest name.
    """
    if not (is_user_code(name) or name in NUM_TRAIN_SAMPLES):
        msg = f"unknown data set '{name}'; {nearest(name, list(NUM_TRAIN_SAMPLES))} (or package.module:callable)"
        raise InputError(msg)
