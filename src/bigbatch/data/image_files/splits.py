"""Find a data set's splits, whichever way its images are stored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_files.kept_listing import open_listing
from bigbatch.data.image_files.listing import Listing
from bigbatch.data.image_files.pack import open_pack
from bigbatch.data.image_files.shards import TarShards
from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder

TRAIN: Final = ("train",)
VALIDATION: Final = ("val", "validation", "test")
NAMES: Final = (*TRAIN, *VALIDATION)
PACK: Final = ".pack"

Stored = ClassFolders | TarShards | Path  # a pack, if it is a path


def open_both(
    path: str, *, train: Sequence[str] = TRAIN, validation: Sequence[str] = VALIDATION
) -> tuple[Listing, Listing]:
    """Open the training and the validation split, which must have the same classes.

    Args:
        path: of the folder that holds both.
        train: the names that the training split may have.
        validation: those of the validation split.

    Raises:
        InputError: a split is missing, cannot be read, or has other classes than the other one.
    """
    root = Path(path)
    first, second = open_split(find_split(root, train)), open_split(find_split(root, validation))
    if first.classes != second.classes:
        only = sorted(set(first.classes) ^ set(second.classes))
        msg = f"{root}: the splits differ in their classes; only one of them has {', '.join(only[:5])}"
        raise InputError(msg)
    return first, second


def open_split(stored: Stored) -> Listing:
    """List the images of a split.

    Raises:
        InputError: they cannot be read.
    """
    return open_pack(stored) if isinstance(stored, Path) else open_listing(stored)


def find_split(root: Path, names: Sequence[str]) -> Stored:
    """Return the first of these splits that a folder holds, in whichever way.

    A split `train` is a folder `train/` of class folders or of tar files, tar files `train.tar` or `*train-*.tar`, or
    `train.pack`.

    Raises:
        InputError: there is none, or one in two ways.
    """
    if not is_folder(root):
        msg = f"there is no data folder {root}; set data.path to one with train/ and val/ class folders in it"
        raise InputError(msg)
    for name in names:
        if found := ways_of(root, name):
            if len(found) > 1:
                both = " and ".join(_in_words(way) for way in found)
                msg = f"{root} holds the {name} split twice, as {both}: remove one of them"
                raise InputError(msg)
            return found[0]
    wanted = " or ".join(f"{name}/" for name in names)
    hint = (
        "; bigbatch pack FOLDER PACKED --validation-share 0.1 splits a folder of classes" if _folders_in(root) else ""
    )
    msg = f"{root} has no folder {wanted} of class folders, and no tar files or pack{hint}"
    raise InputError(msg)


def ways_of(root: Path, name: str) -> list[Stored]:
    """Return the ways in which a folder holds a split."""
    return [way for way in (_pack(root, name), _shards(root, name), _folders(root, name)) if way is not None]


def _pack(root: Path, name: str) -> Path | None:
    path = root / f"{name}{PACK}"
    return path if is_file(path) else None


def _shards(root: Path, name: str) -> TarShards | None:
    if is_folder(root / name) and (shards := _files(root / name, ".tar")):
        return TarShards(root / name, name, shards)
    words = [shard for shard in _files(root, ".tar") if name in _words(shard)]
    return TarShards(root, name, tuple(words)) if words else None


def _folders(root: Path, name: str) -> ClassFolders | None:
    return ClassFolders(root / name) if is_folder(root / name) and not _files(root / name, ".tar") else None


def _folders_in(folder: Path) -> bool:
    return any(not path.name.startswith(".") and is_folder(path) for path in folder.glob("*"))


def _files(folder: Path, suffix: str) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.glob(f"*{suffix}") if is_file(path)))


def _words(name: str) -> list[str]:
    """Return the words of a file's name.

    >>> _words("imagenet-train-000017.tar")
    ['imagenet', 'train', '000017', 'tar']
    """
    return "".join(letter if letter.isalnum() else " " for letter in name).split()


def _in_words(stored: Stored) -> str:
    if isinstance(stored, Path):
        return stored.name
    return stored.shards[0] if isinstance(stored, TarShards) else f"{stored.path.name}/"
