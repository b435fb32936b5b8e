"""A split in Parquet files, as Hugging Face's datasets have it: a column of images, and one of labels.

A Parquet file is read by row groups, of about a hundred images each. An image that is read by its number costs the
reading of its group. So a training is slow on them: pack them, which reads each group once.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bigbatch.data.image_files.containers import Containers, Member
from bigbatch.data.image_files.listing import ContainedListing
from bigbatch.errors import InputError, first_line

if TYPE_CHECKING:
    from pyarrow import ChunkedArray
    from pyarrow.parquet import ParquetFile

IMAGES: Final = ("image", "img", "jpg")  # the column's name
LABELS: Final = ("label", "labels", "cls")
KEPT_GROUPS: Final = 4  # that a process has read last
LARGEST_GROUP: Final = 2**24  # rows


@dataclass(frozen=True, eq=False)
class ParquetListing(ContainedListing):
    """The images of Parquet files. An image's offset is its row group times 2^24, plus its row in the group."""

    def read(self, index: int) -> bytes:
        """Return an image's content.

        Raises:
            InputError: the file cannot be read, or has changed since it was listed.
        """
        group, row = divmod(int(self.offsets[index]), LARGEST_GROUP)
        name, size = self.containers[int(self.numbers[index])]
        content: bytes = _GROUPS.read(self.folder / name, size, group)[row].as_py()
        return content

    def fingerprint(self) -> Iterator[bytes]:
        """Yield each image's split, class and name, and the sizes of the files, of which a fingerprint is made."""
        yield from super().fingerprint()
        yield repr([size for _, size in self.containers]).encode()


class ParquetFiles(Containers):
    """A split's files."""

    kind: ClassVar[type[ContainedListing]] = ParquetListing

    def class_names(self) -> Sequence[str] | None:
        """Return the names that Hugging Face's datasets keep beside the labels; None if there are none."""
        metadata = _open(self.path / self.files[0]).schema_arrow.metadata or {}
        try:
            features = json.loads(metadata[b"huggingface"])["info"]["features"]
            return next(tuple(features[label]["names"]) for label in LABELS if label in features)
        except (KeyError, ValueError, TypeError, StopIteration):
            return None

    def members(self, path: Path, number: int) -> Iterator[Member]:
        """Yield the images of a file.

        Raises:
            InputError: pyarrow is missing; or the file is none of images and labels, or damaged.
        """
        file = _open(path)
        image, label = _column(file, IMAGES, path), _column(file, LABELS, path)
        kind = file.schema_arrow.field(image).type
        if not {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
            msg = (
                f"{path}: the column {image} is {kind}, not of bytes and path, as Hugging Face's datasets save an image"
            )
            raise InputError(msg)
        for group in range(file.metadata.num_row_groups):
            table = _said(path, lambda group=group: file.read_row_group(group, columns=[f"{image}.path", label]))
            labels, places = table.column(label).to_pylist(), table.column(image).to_pylist()
            for row, (value, place) in enumerate(zip(labels, places, strict=True)):
                if not isinstance(value, int) or value < 0:
                    msg = f"{path}: row {row} of group {group} has the label {value}; every image needs one from 0 on"
                    raise InputError(msg)
                name = PurePosixPath(place["path"] or "").name or f"{number:06d}-{group:06d}-{row:06d}"
                yield Member(value, os.fsencode(name), number, group * LARGEST_GROUP + row, 0)


class _Groups:
    """The images of the row groups that a process has read last. A forked process opens the files anew."""

    def __init__(self) -> None:
        self.process = 0
        self.files: dict[Path, ParquetFile] = {}
        self.groups: OrderedDict[tuple[Path, int], ChunkedArray] = OrderedDict()

    def read(self, path: Path, size: int, group: int) -> "ChunkedArray":
        if self.process != os.getpid():
            self.__init__()  # type: ignore[misc] # nothing of the parent's
            self.process = os.getpid()
        if (path, group) not in self.groups:
            _check_size(path, size)
            if path not in self.files:
                self.files[path] = _open(path)
            file = self.files[path]
            column = f"{_column(file, IMAGES, path)}.bytes"
            images = _said(path, lambda: file.read_row_group(group, columns=[column], use_threads=False))
            self.groups[path, group] = images.column(0).combine_chunks().field("bytes")
        self.groups.move_to_end((path, group))
        while len(self.groups) > KEPT_GROUPS:
            self.groups.popitem(last=False)
        return self.groups[path, group]


_GROUPS: Final = _Groups()


def _open(path: Path) -> "ParquetFile":
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        msg = f"reading {path} needs pyarrow: pip install 'bigbatch[parquet]'"
        raise InputError(msg) from error
    return _said(path, lambda: ParquetFile(path))


def _said(path: Path, read: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Read, and say in a line what is wrong."""
    try:
        return read()
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these kinds
        msg = f"cannot read the Parquet file {path} ({first_line(error)}); put it back"
        raise InputError(msg) from error


def _check_size(path: Path, expected: int) -> None:
    found = _said(path, path.stat).st_size
    if found != expected:
        msg = f"{path} has {found:,} bytes, and had {expected:,} when listed: put it back, or start a new run"
        raise InputError(msg)


def _column(file: "ParquetFile", names: Sequence[str], path: Path) -> str:
    found = next((name for name in names if name in file.schema_arrow.names), None)
    if found is None:
        msg = f"{path} has the columns {', '.join(file.schema_arrow.names)}, and none named {' or '.join(names)}"
        raise InputError(msg)
    return found
