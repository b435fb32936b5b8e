"""Find a data set's splits, whichever way its images are stored."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_files.kept_listing import open_listing
from bigbatch.data.image_files.listing import Listing
from bigbatch.data.image_files.pack import open_pack
from bigbatch.data.image_files.parquet import ParquetFiles
from bigbatch.data.image_files.shards import TarShards
from bigbatch.errors import InputError
from bigbatch.paths import is_file, is_folder

TRAIN: Final = ("train",)
VALIDATION: Final = ("val", "validation", "test")
NAMES: Final = (*TRAIN, *VALIDATION)
PACK, TAR, PARQUET = ".pack", ".tar", ".parquet"
KINDS: Final[dict[str, type[TarShards | ParquetFiles]]] = {TAR: TarShards, PARQUET: ParquetFiles}

Stored = ClassFolders | TarShards | ParquetFiles | Path  # a pack, if it is a path


def open_both(path: str) -> tuple[Listing, Listing]:
    """Open the training and the validation split, which must have the same classes.

    Args:
        path: of the folder that holds both.

    Raises:
        InputError: a split is missing, cannot be read, or has other classes than the other one.
    """
    root = Path(path)
    first, second = open_split(find_split(root, TRAIN)), open_split(find_split(root, VALIDATION))
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

    A split `train` is a folder `train/` of class folders, tar files or Parquet files; such files named `train.tar` or
    `*train-*.parquet`, here or in `data/`; or `train.pack`.

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
    msg = f"{root} has no folder {wanted} of class folders, and no tar files, Parquet files or pack{hint}"
    raise InputError(msg)


def ways_of(root: Path, name: str) -> list[Stored]:
    """Return the ways in which a folder holds a split."""
    ways = (_pack(root, name), *_files_of(root, name, TAR), *_files_of(root, name, PARQUET), _folders(root, name))
    return [way for way in ways if way is not None]


def _pack(root: Path, name: str) -> Path | None:
    path = root / f"{name}{PACK}"
    return path if is_file(path) else None


def _files_of(root: Path, name: str, suffix: str) -> Iterator[TarShards | ParquetFiles]:
    """Yield the split's tar or Parquet files: those of its own folder, or those that have its name."""
    kind = KINDS[suffix]
    if is_folder(root / name) and (files := _files(root / name, suffix)):
        yield kind(root / name, name, files)
    for folder in (root, root / "data"):
        if files := tuple(file for file in _files(folder, suffix) if name in _words(file)):
            yield kind(folder, name, files)


def _folders(root: Path, name: str) -> ClassFolders | None:
    holds_files = any(_files(root / name, suffix) for suffix in KINDS)
    return ClassFolders(root / name) if is_folder(root / name) and not holds_files else None


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
    return f"{stored.path.name}/" if isinstance(stored, ClassFolders) else stored.files[0]
