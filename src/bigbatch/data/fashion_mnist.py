"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017, arXiv 1708.07747), MIT licence: found on this machine, or downloaded."""

import gzip
import math
import zlib
from hashlib import sha256
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from numpy.typing import NDArray

from bigbatch.atomic_file import write_atomically
from bigbatch.data.dataset import Splits
from bigbatch.data.gzipped import read_gzip
from bigbatch.data.in_memory import in_memory_splits
from bigbatch.errors import InputError
from bigbatch.paths import cache_folder, is_file
from bigbatch.recipe import Data

MEAN: Final = (0.2860,)
STD: Final = (0.3530,)
DEBIAN_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
URL: Final = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
TIMEOUT_SECONDS: Final = 60
DIMENSIONS: Final = (1, 3)  # of labels and images
HOW_TO_GET_IT: Final = (
    "install Debian's package dataset-fashion-mnist, or set data.path to the folder of the four files"
)
# SHA-256 of what the gzip files contain.
FILES: Final = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def load_fashion_mnist(recipe: Data) -> Splits:
    """Load from `path`, Debian's folder, the cache folder, or download into the cache.

    Raises:
        InputError: a file is missing, damaged or cannot be downloaded.
    """
    folder = find_folder(recipe.path)
    train_images, train_labels, images, labels = (read_idx(folder / name) for name in FILES)
    for kind, pictures, classes in (("train", train_images, train_labels), ("t10k", images, labels)):
        if pictures.ndim != 3 or classes.ndim != 1 or len(pictures) != len(classes) or not pictures.size:  # noqa: PLR2004
            msg = f"{folder}: the {kind} files hold {pictures.shape} images and {classes.shape} labels; {HOW_TO_GET_IT}"
            raise InputError(msg)
    return in_memory_splits(
        (train_images[:, None], train_labels.astype(np.int64)),
        (images[:, None], labels.astype(np.int64)),
        mean=MEAN,
        std=STD,
        augmentation=recipe.augmentation,
    )


def find_folder(path: str, *, url: str = URL) -> Path:
    """Return the folder of the four files, downloading them only if `path` is "" and no usual place has them."""
    if path:
        missing = [name for name in FILES if not is_file(Path(path) / name)]
        if missing:
            msg = f"{path} has no {missing[0]}; data.path must hold the four files of Fashion-MNIST"
            raise InputError(msg)
        return Path(path)
    if _is_complete(DEBIAN_FOLDER):
        return DEBIAN_FOLDER
    try:
        cache = cache_folder() / "fashion-mnist"
    except RuntimeError as error:  # a user without a home
        msg = f"there is no folder to download Fashion-MNIST to ({error}); set data.path or XDG_CACHE_HOME"
        raise InputError(msg) from error
    if not _is_complete(cache):
        for name, digest in FILES.items():
            download(f"{url}/{name}", cache / name, digest)
    return cache


def _is_complete(folder: Path) -> bool:
    return all(is_file(folder / name) for name in FILES)


def download(url: str, target: Path, digest: str) -> None:
    """Fetch a gzip file whose content has the SHA-256 `digest`; the target appears whole or not at all."""
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310 - our own constant URL, content checked
            content = response.read()
        if sha256(gzip.decompress(content)).hexdigest() != digest:
            msg = f"{url} is not the file it should be (its SHA-256 differs); {HOW_TO_GET_IT}"
            raise InputError(msg)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, content)
    except (URLError, HTTPException, OSError, EOFError, zlib.error) as error:
        msg = f"cannot download {url} ({getattr(error, 'reason', error)}); {HOW_TO_GET_IT}"
        raise InputError(msg) from error


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an array of bytes in the idx format: two zeros, type 8, number of dimensions, their sizes, the bytes."""
    try:
        content = read_gzip(path)
    except (OSError, EOFError, zlib.error) as error:
        msg = f"cannot read {path} ({error}); {HOW_TO_GET_IT}"
        raise InputError(msg) from error
    num_dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0  # noqa: PLR2004 - its place
    start = 4 + 4 * num_dimensions
    if num_dimensions in DIMENSIONS and len(content) >= start:
        shape = np.frombuffer(content[:start], ">u4", offset=4).tolist()
        if len(content) - start == math.prod(shape):
            return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    msg = f"{path} is damaged: not an array of bytes in idx format; {HOW_TO_GET_IT}"
    raise InputError(msg)
