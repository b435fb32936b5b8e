"""Listings of large splits, kept in the user's cache: a million images are listed once, and then open at once."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from bigbatch.atomic_file import write_atomically
from bigbatch.data.image_files.listing import Listing, Report, read_header, read_listing
from bigbatch.errors import InputError
from bigbatch.paths import cache_folder

KEPT_FROM: Final = 20_000  # images: fewer are listed faster than anybody notices
SETTLED_SECONDS: Final = 2.0  # a folder that has changed since may change again without another time of change
PATIENCE_SECONDS: Final = 2.0  # until a person at a terminal is told how far it is


class Listable(Protocol):
    """Where a split's images are, before they are listed."""

    @property
    def kind(self) -> type[Listing]:
        """Of the listing."""
        ...

    @property
    def path(self) -> Path:
        """The folder that holds them."""
        ...

    @property
    def split(self) -> str:
        """The split's name, such as "train"."""
        ...

    def watched(self) -> Iterable[Path]:
        """Yield the files or folders that change when an image comes, goes or is renamed."""
        ...

    def list(self, report: Report | None = None) -> Listing:
        """List the images."""
        ...


def open_listing(images: Listable) -> Listing:
    """Return a split's listing: the kept one unless what it watches has changed since, or a new one.

    A file that is written anew under its old name changes no folder. Reading it tells.

    Raises:
        InputError: no class, a class without an image, an image that is no file, or what cannot be read.
    """
    state, last_change = _state(images)
    file = _file(images)
    with suppress(OSError, ValueError):  # there is none yet, or it is damaged
        if read_header(file).get("state") == state:
            return replace(read_listing(images.kind, file), folder=images.path)
    started = time.time()
    listing = images.list(_reporter(images.path))
    is_settled = started - last_change >= SETTLED_SECONDS and _state(images)[0] == state
    if len(listing) < KEPT_FROM or not is_settled:
        return listing
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, replace(listing, folder=images.path.absolute()).to_bytes(state=state))
        return replace(read_listing(images.kind, file), folder=images.path)
    except (OSError, ValueError):  # a full disk is no reason to fail
        return listing


def fingerprint(*listings: Listing) -> str:
    """Return the SHA-256 over every image's split, class, name and size in bytes; of large splits it is kept, too."""

    def compute() -> str:
        digest = sha256()
        for listing in listings:
            for part in listing.fingerprint():
                digest.update(part)
        return digest.hexdigest()

    if sum(map(len, listings)) < KEPT_FROM:
        return compute()
    content = repr([(listing.split, listing.digest(), listing.classes) for listing in listings])
    return _kept_text(_folder() / f"{sha256(content.encode()).hexdigest()}.fingerprint", compute)


def _kept_text(file: Path, compute: Callable[[], str]) -> str:
    with suppress(OSError, UnicodeError):
        text = file.read_text("ascii")
        if len(text) == sha256().digest_size * 2:
            return text
    text = compute()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
    return text


def _folder() -> Path:
    try:
        return cache_folder() / "listings"
    except RuntimeError:  # a user without a home: nothing can be kept there
        return Path(os.devnull)


def _file(images: Listable) -> Path:
    place = os.fsencode(f"{type(images).__name__}\0{images.split}\0{images.path.absolute()}")
    return _folder() / f"{sha256(place).hexdigest()}.listing"


def _state(images: Listable) -> tuple[str, float]:
    """Return a hash of what is watched and of when each has changed last, and when one has, in seconds since 1970."""
    digest, last_change = sha256(), 0.0
    for path in images.watched():
        try:
            found = path.stat()
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise InputError(msg) from error
        name = os.path.relpath(path, images.path)
        digest.update(os.fsencode(f"{name}\0{found.st_mtime_ns}\0{found.st_ino}\0{found.st_size}\0"))
        last_change = max(last_change, found.st_mtime)
    return digest.hexdigest(), last_change


def _reporter(folder: Path) -> Report | None:
    """Return what tells a person at a terminal how far the listing is, if it takes long."""
    if not sys.stderr.isatty():
        return None
    start = time.monotonic()

    def report(done: int, total: int, images: int) -> None:
        if time.monotonic() - start > PATIENCE_SECONDS:
            end = "\n" if done == total else ""
            sys.stderr.write(f"\rlisting {folder}: {done} of {total} parts, {images:,} images{end}")
            sys.stderr.flush()

    return report
