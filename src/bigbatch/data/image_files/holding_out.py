"""Hold out a part of each class to validate on, by the names of the images alone."""

import os
from dataclasses import replace
from hashlib import sha256

import numpy as np

from bigbatch.data.image_files.listing import Listing, only
from bigbatch.data.image_files.splits import TRAIN, VALIDATION


def hold_out(listing: Listing, share: float) -> tuple[Listing, Listing]:
    """Return the listings of what is trained on and of what is validated on.

    Of each class, those images are held out whose names have the smallest hashes. So nothing else decides, and an image
    that is added moves no other one between the splits, but perhaps one.

    Args:
        listing: of all images.
        share: of each class that is held out, between 0 and 1; one image at least.

    Raises:
        InputError: a class has a single image.
    """
    is_held_out = np.zeros(len(listing), bool)
    for start, stop in zip(listing.starts[:-1].tolist(), listing.starts[1:].tolist(), strict=True):
        by_hash = sorted(range(start, stop), key=lambda index: sha256(os.fsencode(listing.name(index))).digest())
        is_held_out[by_hash[: max(1, round(share * (stop - start)))]] = True
    return _part(listing, ~is_held_out, TRAIN[0]), _part(listing, is_held_out, VALIDATION[0])


def _part(listing: Listing, is_kept: "np.typing.NDArray[np.bool_]", split: str) -> Listing:
    starts, ends, sizes, names = only(listing, is_kept)
    return replace(listing, split=split, starts=starts, ends=ends, sizes=sizes, names=names, file=None)
