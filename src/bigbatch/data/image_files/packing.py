"""Make a pack of a split: decode, resize and encode its images in several processes, and write them in order."""

import fcntl
import signal
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from bigbatch.atomic_file import put_in_place
from bigbatch.data.image_files.kept_listing import fingerprint
from bigbatch.data.image_files.listing import ALIGNMENT, Listing, only
from bigbatch.data.image_files.pack import END, FILES, FOOTER, JPEG, RECORD, SIDES, Making, Pack, open_pack
from bigbatch.errors import InputError, ReaderLostError
from bigbatch.processes.parent import die_with_parent

UNFINISHED: Final = ".part"
CHUNK: Final = 32  # images that a process is given at once
AHEAD: Final = 4  # chunks of each process that may wait to be written
LEFT_OUT: Final = 2**64 - 1  # in place of the bytes of an image that cannot be decoded
MOST_BYTES: Final = 2**32  # more than any image has
JPEG_START: Final = b"\xff\xd8"

Numbers = NDArray[np.int64]
Report = Callable[[int, int, int], None]  # (images that are done, all of them, bytes so far) -> None


@dataclass(frozen=True)
class Packed:
    """A pack that was made.

    Attributes:
        pack: opened.
        left_out: what was said of each image that cannot be decoded.
    """

    pack: Pack
    left_out: tuple[str, ...]


class BrokenImagesError(InputError):
    """Some images cannot be decoded.

    Args:
        listing: that they are of.
        reasons: what is said of each.
    """

    def __init__(self, listing: Listing, reasons: tuple[str, ...]) -> None:
        super().__init__(
            f"{len(reasons)} of the {len(listing):,} images of {listing.folder} cannot be decoded: replace or remove "
            "them, or leave them out with --skip-broken"
        )
        self.reasons = reasons


def make_pack(
    listing: Listing,
    path: Path,
    *,
    encoding: str,
    short_side: int,
    quality: int,
    processes: int,
    skips_broken: bool = False,
    report: Report | None = None,
) -> Packed:
    """Write the images of a split into one file. An unfinished file that was made in the same way is gone on with.

    Args:
        listing: of the split.
        path: of the pack. Until it is whole, it has the suffix `.part`.
        encoding: "jpeg", "pixels", or "files" to copy the images as they are.
        short_side: the most that the shorter side may have, in pixels; smaller images keep their size.
        quality: of the JPEGs, 1 to 95.
        processes: that decode and encode. They do not change a bit of the pack.
        skips_broken: whether images that cannot be decoded are left out.
        report: is told how far it is.

    Raises:
        BrokenImagesError: some images cannot be decoded.
        InputError: there is an unfinished pack that was made in another way, or a class has no image left.
        ReaderLostError: a process that encodes has ended.
        OSError: the pack cannot be written.
    """
    is_copy, is_jpeg = encoding == FILES, encoding == JPEG
    making = Making(encoding, 0 if is_copy else short_side, quality if is_jpeg else 0, fingerprint(listing))
    if path.exists():
        return Packed(_made_before(path, making), ())
    unfinished = path.with_name(path.name + UNFINISHED)
    with unfinished.open("a+b") as file:
        _lock(file, unfinished)
        sizes, checksums = _begin(file, making, unfinished, most=len(listing))
        for content in _encoded(listing, making, range(len(sizes), len(listing)), processes):
            file.write(RECORD.pack(len(content) or LEFT_OUT, crc32(content)) + content)
            sizes.append(len(content))
            checksums.append(crc32(content))
            if report:
                report(len(sizes), len(listing), file.tell())
        left_out = tuple(_reason(listing, making, index) for index, size in enumerate(sizes) if not size)
        if left_out and not skips_broken:
            raise BrokenImagesError(listing, left_out)
        _end(file, listing, making, np.array(sizes, np.int64), np.array(checksums, np.int64))
    put_in_place(unfinished, path)
    return Packed(open_pack(path), left_out)


def _made_before(path: Path, making: Making) -> Pack:
    with path.open("rb") as file:
        if Making.of_line(file.readline(), path) != making:
            msg = f"{path} is there already, of other images or options: remove it, or write to another folder"
            raise InputError(msg)
    return open_pack(path)


def _lock(file: IO[bytes], path: Path) -> None:
    """Keep the file for this process, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        msg = f"{path} is being written by another process; wait for it, or write to another folder"
        raise InputError(msg) from error


def _begin(file: IO[bytes], making: Making, path: Path, *, most: int) -> tuple[list[int], list[int]]:
    """Write the first line, or read what is there; return the size and checksum of each image, and cut off the rest."""
    line = making.to_line()
    sizes: list[int] = []
    checksums: list[int] = []
    file.seek(0)
    found = file.readline()
    if found.endswith(b"\n") and found != line:
        msg = f"{path} is unfinished, and of other images or options: remove it, or take the old ones"
        raise InputError(msg)
    if found != line:
        file.truncate(0)
        file.write(line)
    place = len(line)
    while len(sizes) < most and len(header := file.read(RECORD.size)) == RECORD.size:
        size, checksum = RECORD.unpack(header)
        size = 0 if size == LEFT_OUT else size or MOST_BYTES  # zeros are what a crash may leave, and no record
        content = file.read(min(size, MOST_BYTES))
        if len(content) != size or crc32(content) != checksum:
            break
        sizes.append(size)
        checksums.append(checksum)
        place += RECORD.size + size
    file.truncate(place)
    file.seek(place)
    return sizes, checksums


def _encoded(listing: Listing, making: Making, numbers: range, processes: int) -> Iterator[bytes]:
    """Yield the content of each of these images, in order; nothing for one that cannot be decoded."""
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    if processes == 1:
        for number in numbers:
            yield from _encode_all(listing, making, range(number, number + 1))
        return
    waiting: deque[Future[list[bytes]]] = deque()
    with ProcessPoolExecutor(processes, initializer=_remember, initargs=(listing, making)) as pool:
        try:
            for chunk in chunks:
                if len(waiting) == AHEAD * processes:
                    yield from waiting.popleft().result()
                waiting.append(pool.submit(_encode_remembered, chunk))
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool as error:
            msg = (
                "a process that encodes images has ended; memory has often run out then: use fewer --jobs. The same "
                "command goes on with what is there"
            )
            raise ReaderLostError(msg) from error
        finally:
            pool.shutdown(cancel_futures=True)


_remembered: list[tuple[Listing, Making]] = []  # by a process that encodes


def _remember(listing: Listing, making: Making) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that writes is told, and ends this one
    die_with_parent()
    _remembered[:] = [(listing, making)]


def _encode_remembered(numbers: range) -> list[bytes]:
    return _encode_all(*_remembered[0], numbers)


def _encode_all(listing: Listing, making: Making, numbers: range) -> list[bytes]:
    contents = []
    for number in numbers:
        try:
            contents.append(encode(listing, making, number))
        except InputError:
            contents.append(b"")
    return contents


def encode(listing: Listing, making: Making, number: int) -> bytes:
    """Return what a pack holds of an image.

    Raises:
        InputError: it cannot be read or decoded.
    """
    from PIL.Image import Resampling

    content = listing.read(number)
    image = listing.image(number)
    width, height = image.size
    is_small = min(width, height) <= making.short_side
    if making.encoding == FILES or (making.encoding == JPEG and is_small and content.startswith(JPEG_START)):
        return content
    if not is_small:
        scale = making.short_side / min(width, height)
        image = image.resize((round(width * scale), round(height * scale)), Resampling.LANCZOS)
    if making.encoding == JPEG:
        target = BytesIO()
        image.save(target, "JPEG", quality=making.quality)
        return target.getvalue()
    return SIDES.pack(*image.size) + np.asarray(image).tobytes()


def _reason(listing: Listing, making: Making, number: int) -> str:
    try:
        encode(listing, making, number)
    except InputError as error:
        return str(error)
    return f"{listing.place(number)} could not be decoded before, and can be now"


def _end(file: IO[bytes], listing: Listing, making: Making, sizes: Numbers, checksums: Numbers) -> None:
    """Write the listing of what was packed, and where it begins.

    Raises:
        InputError: a class has no image left.
    """
    is_kept = sizes > 0
    starts, ends, _, names = only(listing, is_kept)
    offsets = len(making.to_line()) + np.cumsum(sizes + RECORD.size) - sizes
    arrays = starts, ends, sizes[is_kept], names, np.zeros_like(ends), offsets[is_kept], checksums[is_kept]
    found = Pack(Path(), listing.split, listing.classes, *arrays, (), making.encoding)
    place = file.tell()
    padding = bytes(-place % ALIGNMENT)
    file.write(padding + found.to_bytes() + FOOTER.pack(END, place + len(padding)))
