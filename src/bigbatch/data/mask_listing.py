"""What a folder of images and masks holds. It needs no torch, so a plan can count them."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from bigbatch.data.image_files.folder import image_files
from bigbatch.errors import InputError, first_line
from bigbatch.paths import is_file, is_folder

NAMES: Final = {True: ("train",), False: ("val", "test")}
LAYOUT: Final = "mask-folder data is train/images/NAME.jpg and train/masks/NAME.png, and the same in val/"
CLASSES: Final = "classes.txt"


@dataclass(frozen=True)
class MaskListing:
    """The images and masks of one split.

    Attributes:
        folder: the split's folder.
        samples: (image, mask) of each name, sorted.
    """

    folder: Path
    samples: tuple[tuple[Path, Path], ...]


def list_masks(path: str, *, is_training: bool) -> MaskListing:
    """List a split's images and masks.

    Raises:
        InputError: a folder is missing or empty, or an image or mask stands alone.
    """
    folder = find_masks(path, is_training=is_training)
    images, masks = (_by_stem(folder / part) for part in ("images", "masks"))
    for stem in sorted(set(images) ^ set(masks)):
        part, path_of = ("mask", images[stem]) if stem in images else ("image", masks[stem])
        msg = f"{path_of} has no {part} of its name; add or remove one ({LAYOUT})"
        raise InputError(msg)
    if not images:
        msg = f"{folder / 'images'} holds no image; a split needs at least one"
        raise InputError(msg)
    return MaskListing(folder, tuple((images[stem], masks[stem]) for stem in sorted(images)))


def find_masks(path: str, *, is_training: bool) -> Path:
    """Return a split's folder.

    Raises:
        InputError: it is not there, or has no folders of images and masks.
    """
    root = Path(path)
    if not (path and is_folder(root)):
        msg = f"there is no data folder '{path}': set data.path; {LAYOUT}"
        raise InputError(msg)
    for folder in (root / name for name in NAMES[is_training]):
        if is_folder(folder):
            _check_parts(folder, ("images", "masks"))
            return folder
    msg = f"{root} has no folder {NAMES[is_training][0]}/; {LAYOUT}"
    raise InputError(msg)


def _check_parts(folder: Path, parts: Sequence[str]) -> None:
    for part in parts:
        if not is_folder(folder / part):
            msg = f"{folder} has no folder {part}/; {LAYOUT}"
            raise InputError(msg)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, _ in sorted(image_files(folder)):
        path = folder / name
        if path.stem in found:
            msg = f"{found[path.stem]} and {path} have one name; remove one of them"
            raise InputError(msg)
        found[path.stem] = path
    return found


def read_class_names(path: str) -> list[str]:
    """Return the names in classes.txt, one a line; none where there is no such file.

    Raises:
        InputError: the file cannot be read, or names a single class.
    """
    file = Path(path) / CLASSES
    if not is_file(file):
        return []
    try:
        names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        msg = f"cannot read {file}: {first_line(error)}"
        raise InputError(msg) from error
    if len(names) < 2:  # noqa: PLR2004 - a background, and something in front of it
        msg = f"{file} names fewer than two classes; name them one a line, the background first"
        raise InputError(msg)
    return names


def fingerprint(*listings: MaskListing) -> str:
    """Return the SHA-256 over every image's and mask's split, name and size in bytes."""
    digest = sha256()
    for listing in listings:
        for path in (path for pair in listing.samples for path in pair):
            relative = path.relative_to(listing.folder.parent)
            digest.update(f"{relative.as_posix()}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
