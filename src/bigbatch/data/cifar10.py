"""CIFAR-10 (Krizhevsky 2009): the original archives, packed or not, or a folder of images by class."""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.dataset import Splits
from bigbatch.data.gzipped import read_gzip
from bigbatch.data.image_files.listing import Listing
from bigbatch.data.image_files.splits import open_both
from bigbatch.data.in_memory import in_memory_splits
from bigbatch.data.presence import CIFAR10, check_presence
from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder
from bigbatch.recipe import Data

MEAN: Final = (0.4914, 0.4822, 0.4465)
STD: Final = (0.2470, 0.2435, 0.2616)
SIDE: Final = 32
PIXELS: Final = 3 * SIDE * SIDE
BINARY_TRAIN: Final = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
PYTHON_TRAIN: Final = tuple(f"data_batch_{i}" for i in range(1, 6))

# What an unpickler raises at damage, and numpy at sizes and values that cannot be.
PICKLE_ERRORS: Final = (
    *(pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError),
    *(MemoryError, OverflowError, ImportError),
)

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]
ReadFile = Callable[[str], bytes | None]


def load_cifar10(recipe: Data) -> Splits:
    """Load whichever form `path` has, into memory.

    Raises:
        InputError: nothing there, or a damaged file.
    """
    check_presence(recipe)
    path = Path(recipe.path)
    if is_folder(path / "train"):
        train, validation = (_decode_all(listing) for listing in open_both(recipe.path))
    else:
        train, validation = _read_archive(path)
    return in_memory_splits(train, validation, mean=MEAN, std=STD, augmentation=recipe.augmentation)


def _decode_all(listing: Listing) -> Arrays:
    images = np.empty((len(listing), 3, SIDE, SIDE), np.uint8)
    for i in range(len(listing)):
        pixels = np.asarray(listing.image(i))
        if pixels.shape != (SIDE, SIDE, 3):
            place, (height, width) = listing.place(i), pixels.shape[:2]
            msg = f"{place} is {width}x{height} pixels, not 32x32; use data.name = 'image-folder'"
            raise InputError(msg)
        images[i] = pixels.transpose(2, 0, 1)
    return images, np.repeat(np.arange(len(listing.classes)), np.diff(listing.starts))


def _read_archive(path: Path) -> tuple[Arrays, Arrays]:
    read = _tar_reader(path) if is_file(path) else _folder_reader(path)
    for train, test, parse in (
        (BINARY_TRAIN, "test_batch.bin", _parse_binary),
        (PYTHON_TRAIN, "test_batch", _parse_python),
    ):
        contents = [read(name) for name in (*train, test)]
        if all(content is not None for content in contents):
            batches = [
                parse(content, f"{path}: {name}") for content, name in zip(contents, (*train, test), strict=True)
            ]
            images, labels = (np.concatenate(part) for part in zip(*batches[:-1], strict=True))
            return (images, labels), batches[-1]
    msg = f"{path} does not hold CIFAR-10; {CIFAR10}"
    raise InputError(msg)


def _folder_reader(path: Path) -> ReadFile:
    return lambda name: (path / name).read_bytes() if is_file(path / name) else None


def _tar_reader(path: Path) -> ReadFile:
    """Read the members into memory by their last name; nothing is unpacked onto the disk."""
    wanted = {*BINARY_TRAIN, "test_batch.bin", *PYTHON_TRAIN, "test_batch"}
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(read_gzip(path))) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in wanted and member.isfile() and (file := archive.extractfile(member)):
                    members[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        msg = f"cannot read the archive {path} ({error}); {CIFAR10}"
        raise InputError(msg) from error
    return members.get


def _parse_binary(content: bytes | None, name: str) -> Arrays:
    rows = np.frombuffer(content or b"", np.uint8)
    if not len(rows) or len(rows) % (1 + PIXELS):
        msg = f"{name} is damaged: {len(rows)} bytes are not rows of {1 + PIXELS}"
        raise InputError(msg)
    rows = rows.reshape(-1, 1 + PIXELS)
    return rows[:, 1:].reshape(-1, 3, SIDE, SIDE), rows[:, 0].astype(np.int64)


def _parse_python(content: bytes | None, name: str) -> Arrays:
    try:
        batch = _ArrayUnpickler(io.BytesIO(content or b""), encoding="bytes").load()
        images = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, SIDE, SIDE)
        labels = np.asarray(batch[b"labels"], np.int64).reshape(len(images))
        if not len(labels):
            msg = "it holds no image"
            raise ValueError(msg)
    except PICKLE_ERRORS as error:
        msg = f"{name} is damaged ({error}); {CIFAR10}"
        raise InputError(msg) from error
    return images, labels


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickle numpy arrays and nothing else: a data file must not run code."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - what pickle asks for
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return np.dtype
        if name == "_reconstruct" and module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
            return np.empty(0).__reduce__()[0]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        msg = f"it asks for {module}.{name}, which a CIFAR-10 file has no need of"
        raise pickle.UnpicklingError(msg)


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        msg = f"it asks for the encoding {encoding}"
        raise pickle.UnpicklingError(msg)
    return text.encode("latin1")
