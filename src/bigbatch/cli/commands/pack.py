"""`bigbatch pack`."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from bigbatch.cli.options.argument_types import file_or_folder, number, positive, whole_number
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.output.json import print_json
from bigbatch.errors import InputError
from bigbatch.paths import is_folder
from bigbatch.printable import printable
from bigbatch.processes.outcome import ExitCode
from bigbatch.recipe.sections.data import MAX_PIXELS

if TYPE_CHECKING:
    from bigbatch.data.image_files.listing import Listing
    from bigbatch.data.image_files.packing import Report

DETAILS: Final = """\
FOLDER has a training and a validation split: train/ and val/ with a folder for each class, or tar files, or packs. A
folder without splits, with a folder for each class, is split by --validation-share. Train on the result with
--set data.path=OUTPUT. Broken images are named, all of them. A pack that was interrupted is gone on with by the same
command.
"""
REPORT_SECONDS: Final = 1.0
QUALITY: Final = 90
MOST_QUALITY: Final = 95  # beyond it, a JPEG grows and does not get better
TRIED: Final = 256  # images that are decoded to tell the speed
MIB: Final = 2**20


def add_pack(commands: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        commands,
        "pack",
        "Write a folder of images into two files that are read faster: smaller images, each found by its number.",
        details=DETAILS,
    )
    parser.add_argument("folder", type=file_or_folder, metavar="FOLDER", help="of the images")
    parser.add_argument("output", type=file_or_folder, metavar="OUTPUT", help="the folder to write, of two files")
    parser.add_argument(
        "--short-side",
        type=_short_side,
        default=256,
        metavar="PIXELS",
        help="the most that an image's shorter side has; smaller images keep their size (default: 256)",
    )
    encoding = parser.add_mutually_exclusive_group()
    encoding.add_argument("--quality", type=_quality, metavar="Q", help=f"of the JPEGs, 1 to 95 (default: {QUALITY})")
    encoding.add_argument("--pixels", action="store_true", help="store pixels: the fastest, and the largest")
    encoding.add_argument("--files", action="store_true", help="store each file as it is: the same bits as FOLDER")
    parser.add_argument(
        "--validation-share",
        type=_share,
        metavar="S",
        help="of a folder without splits: the share of each class that is validated on, such as 0.1",
    )
    parser.add_argument("--skip-broken", action="store_true", help="leave out images that cannot be decoded")
    parser.add_argument(
        "--jobs", type=positive, metavar="J", help="processes that encode, which change no bit (default: all cores)"
    )
    add_json(parser)
    parser.set_defaults(run=pack_command)


def pack_command(options: argparse.Namespace) -> int:
    """Pack both splits, and say what it cost and gained."""
    from bigbatch.data.image_files.packing import BrokenImagesError

    try:
        options.output.mkdir(parents=True, exist_ok=True)
        results = {listing.split: _pack(listing, name, options) for name, listing in _splits(options).items()}
    except BrokenImagesError as error:
        _print_broken(error.reasons, "")
        raise
    except OSError as error:
        msg = f"cannot write to {options.output} ({error.strerror}); the same command goes on with what is there"
        raise InputError(msg) from error
    except KeyboardInterrupt:
        print("\nbigbatch: interrupted; the same command goes on with what is there", file=sys.stderr)
        return ExitCode.INTERRUPTED
    if options.json:
        print_json(results)
    return 0


def _splits(options: argparse.Namespace) -> "dict[str, Listing]":
    """Return what each pack is made of, by its name.

    Raises:
        InputError: there are no splits, or they are there and a share is given; or the output is the folder itself.
    """
    from bigbatch.data.image_files.folder import ClassFolders
    from bigbatch.data.image_files.holding_out import hold_out
    from bigbatch.data.image_files.kept_listing import open_listing
    from bigbatch.data.image_files.splits import NAMES, open_both, ways_of

    folder, share = options.folder, options.validation_share
    if folder.resolve() == options.output.resolve():
        msg = f"OUTPUT must be another folder than {folder}, as data.path takes the images of one of them"
        raise InputError(msg)
    has_splits = is_folder(folder) and any(ways_of(folder, name) for name in NAMES)
    if share is None:
        splits = open_both(str(folder))
    elif has_splits:
        msg = f"{folder} has splits of its own; leave --validation-share out"
        raise InputError(msg)
    else:
        splits = hold_out(open_listing(ClassFolders(folder)), share)
    return dict(zip(("train", "val"), splits, strict=True))


def _pack(listing: "Listing", name: str, options: argparse.Namespace) -> dict[str, Any]:
    from bigbatch.data.image_files.pack import FILES, JPEG, PIXELS
    from bigbatch.data.image_files.packing import make_pack

    path = options.output / f"{name}.pack"
    packed = make_pack(
        listing,
        path,
        encoding=FILES if options.files else PIXELS if options.pixels else JPEG,
        short_side=options.short_side,
        quality=options.quality or QUALITY,
        processes=options.jobs or len(os.sched_getaffinity(0)),
        skips_broken=options.skip_broken,
        report=_reporter(name),
    )
    _print_broken(packed.left_out, "left out: ")
    result = {
        "file": str(path),
        "images": len(packed.pack),
        "left_out": len(packed.left_out),
        "bytes": path.stat().st_size,
        "bytes_before": int(listing.sizes.sum()),
        "images_per_second": _decoded_per_second(packed.pack),
        "images_per_second_before": _decoded_per_second(listing),
    }
    if not options.json:
        print(_sentence(result))
    return result


def _decoded_per_second(listing: "Listing") -> float:
    """Return how many images this core reads and decodes in a second; those that are tried lie evenly among all."""
    tried = [index * len(listing) // TRIED for index in range(TRIED)] if len(listing) > TRIED else range(len(listing))
    start, done = time.perf_counter(), 0
    for index in tried:
        with suppress(InputError):
            listing.image(index)
            done += 1
    return done / (time.perf_counter() - start)


def _sentence(result: dict[str, Any]) -> str:
    ratio = result["images_per_second"] / result["images_per_second_before"]
    return (
        f"{printable(result['file'])}: {result['images']:,} images, {result['bytes'] / MIB:,.1f} MiB (before: "
        f"{result['bytes_before'] / MIB:,.1f}), decoded at {result['images_per_second']:,.0f} a second and core "
        f"(before: {result['images_per_second_before']:,.0f}; x{ratio:.1f})"
    )


def _print_broken(reasons: Sequence[str], before: str) -> None:
    for reason in reasons:
        print(printable(f"bigbatch: {before}{reason}"), file=sys.stderr)


def _reporter(name: str) -> "Report | None":
    """Return what tells a person at a terminal how far it is."""
    if not sys.stderr.isatty():
        return None
    start = last = time.monotonic()

    def report(done: int, total: int, size: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < REPORT_SECONDS and done < total:
            return
        last = now
        end = "\n" if done == total else ""
        left = (now - start) / done * (total - done)
        line = f"\r{name}: {done:,} of {total:,} images, {size / MIB:,.0f} MiB, about {left:,.0f} s left   {end}"
        sys.stderr.write(line)
        sys.stderr.flush()

    return report


def _short_side(text: str) -> int:
    return whole_number(text, least=1, most=MAX_PIXELS)


def _quality(text: str) -> int:
    return whole_number(text, least=1, most=MOST_QUALITY)


def _share(text: str) -> float:
    share = number(text)
    if not 0 < share < 1:
        msg = f"must be between 0 and 1, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return share
