"""Decode an image: what a JPEG or PNG must be, and one line for each that is not. Pillow always can."""

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from bigbatch.data.image_files.regions import Box, decode_region, region_decoder
from bigbatch.errors import InputError
from bigbatch.paths import is_file

if TYPE_CHECKING:
    from PIL.Image import Image

Decoded = TypeVar("Decoded")
ChooseBox = Callable[[int, int], Box]  # (width, height) -> (left, upper, right, lower)

MAX_PIXELS: Final = 50_000_000  # of an image
FORMATS: Final = ("JPEG", "PNG")
NUM_HASHED: Final = 16  # images of a data set, by whose pixels another decoder is noticed
DIGITS: Final = 12


def open_image(path: Path) -> "Image":
    """Decode a JPEG or PNG to RGB: transparency is dropped, 16 bits become 8, and of several frames the first counts.

    Raises:
        InputError: not such a file, truncated, damaged as far as its checksums tell, or more than 50 million pixels.
    """
    return decode(path, _to_rgb)


def decode_content(content: bytes, place: Callable[[], str]) -> "Image":
    """Decode the content of a JPEG or PNG to RGB, as `open_image` does.

    Args:
        content: of the file.
        place: returns where it lies, for errors.

    Raises:
        InputError: as `open_image`.
    """
    check_pillow()
    return _decode(io.BytesIO(content), _to_rgb, place)


def cut(content: bytes, choose: ChooseBox, place: Callable[[], str]) -> NDArray[np.uint8]:
    """Decode a box of the content of a JPEG or PNG to RGB, shape (height, width, 3), as `open_image` does the whole.

    Args:
        content: of the file.
        choose: maps the image's width and height to the box.
        place: returns where it lies, for errors.

    Raises:
        InputError: as `open_image`.
    """

    def convert(image: "Image") -> NDArray[np.uint8]:
        left, upper, right, lower = box = choose(*image.size)
        if (image.format, image.mode) == ("JPEG", "RGB"):
            pixels = decode_region(content, box, image.size)
            if pixels is not None:
                return pixels
        return np.asarray(_to_rgb(image))[upper:lower, left:right]

    check_pillow()
    return _decode(io.BytesIO(content), convert, place)


def decode(path: Path, convert: Callable[["Image"], Decoded]) -> Decoded:
    """Decode a JPEG or PNG, and return what `convert` makes of it, which may raise a `ValueError`.

    Raises:
        InputError: not such a file, truncated, damaged as far as its checksums tell, or more than 50 million pixels.
    """
    check_pillow()
    if not is_file(path):  # opening a pipe would wait for its writer
        msg = f"{path} is no file; replace or remove it"
        raise InputError(msg)
    try:
        with path.open("rb") as file:
            return _decode(file, convert, lambda: str(path))
    except OSError as error:
        msg = f"cannot decode the image {path} ({error.strerror}); replace or remove it"
        raise InputError(msg) from error


def _decode(file: BinaryIO, convert: Callable[["Image"], Decoded], place: Callable[[], str]) -> Decoded:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata, which is not read
            return convert(_checked(file))
    except UnidentifiedImageError as error:
        msg = (
            f"cannot decode the image {place()} (it is no JPEG or PNG, or its header is damaged); replace or remove it"
        )
        raise InputError(msg) from error
    except (OSError, SyntaxError, ValueError, IndexError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"cannot decode the image {place()} ({reason}); replace or remove it"
        raise InputError(msg) from error


def from_pixels(pixels: bytes, size: tuple[int, int]) -> "Image":
    """Return the image of these pixels, row by row, three bytes each.

    Args:
        pixels: all of them.
        size: (width, height).
    """
    from PIL import Image

    return Image.frombuffer("RGB", size, pixels, "raw", "RGB", 0, 1)


def check_pillow() -> None:
    """Refuse to go on without Pillow.

    Raises:
        InputError: says how to install it.
    """
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        msg = "reading images needs Pillow: pip install 'bigbatch[jpeg]'"
        raise InputError(msg) from error


def describe_decoder(
    read: Callable[[int], "Image | NDArray[np.uint8]"], num_images: int, *, reads_regions: bool = False
) -> dict[str, str]:
    """Return what decodes and resizes images here, and a hash of some decoded ones: another decoder may make others.

    Args:
        read: decodes an image, by its number.
        num_images: how many there are; those that are hashed lie evenly among them.
        reads_regions: whether parts of images are decoded.

    Raises:
        InputError: Pillow is not installed.
    """
    check_pillow()
    digest = sha256()
    for index in np.linspace(0, num_images - 1, min(NUM_HASHED, num_images)).astype(int).tolist():
        with suppress(InputError):  # one that cannot be decoded is refused when it is read
            digest.update(np.asarray(read(index)).tobytes())
    return {"decoder": _decoder(reads_regions=reads_regions), "decoded pixels": digest.hexdigest()[:DIGITS]}


def _decoder(*, reads_regions: bool) -> str:
    from PIL import __version__, features

    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    regions = region_decoder() if reads_regions else ""
    return f"Pillow {__version__}, {library}{f', {regions}' * bool(regions)}; resized by torch"


def _checked(file: BinaryIO) -> "Image":
    """Open an image without decoding it yet; a PNG's checksums are compared, which Pillow leaves out for the pixels."""
    from PIL import Image

    image = Image.open(file, formats=FORMATS)
    # The limit is ours and stricter than Pillow's: the size is known before a pixel is decoded.
    if image.width * image.height > MAX_PIXELS:
        msg = f"{image.width * image.height:,} pixels, more than {MAX_PIXELS:,}"
        raise ValueError(msg)
    if image.format != "PNG":
        return image
    image.verify()
    file.seek(0)
    return Image.open(file, formats=FORMATS)


def _to_rgb(image: "Image") -> "Image":
    from PIL import Image

    if image.mode.startswith("I"):  # grey of 16 bits: Pillow would cut all that is above 255 to 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode != "RGB":
        return image.convert("RGB")
    image.load()
    return image
