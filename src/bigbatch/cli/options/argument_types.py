"""From the text of an argument to its value. What argparse says of a refusal is one line."""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from bigbatch.errors import nearest
from bigbatch.recipe.sections.launch import MAX_SECONDS
from bigbatch.runs.folder import LAST_EPOCHS

Value = TypeVar("Value")
LARGEST_BUFFER: Final = 1 << 30
MOST_PROCESSES: Final = 1 << 16
MOST_SEEDS: Final = 1_000
FIGURES: Final = (".png", ".svg", ".pdf")
BYTES_OF: Final = {"KB": 1 << 10, "MB": 1 << 20}


def file_or_folder(text: str) -> Path:
    """Take a path; an empty one would be the current folder."""
    if not text:
        msg = "must name a file or a folder, not ''"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def named(text: str) -> str:
    """Take a name; an empty one would silently be no name."""
    if not text.strip():
        msg = "must be a name, not ''"
        raise argparse.ArgumentTypeError(msg)
    return text


def figure_file(text: str) -> Path:
    """Take the path of a figure."""
    path = file_or_folder(text)
    if path.suffix.lower() not in FIGURES:
        msg = f"must end in {', '.join(FIGURES[:-1])} or {FIGURES[-1]}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return path


def whole_number(text: str, *, least: int | None = None, most: int | None = None) -> int:
    """Take a whole number."""
    try:
        number = int(text)
    except ValueError:
        number = None
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        limits = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        msg = f"must be a whole number{limits}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def positive(text: str) -> int:
    """Take a whole number above 0."""
    return whole_number(text, least=1)


def not_negative(text: str) -> int:
    """Take a whole number of at least 0."""
    return whole_number(text, least=0)


def last_epochs(text: str) -> int:
    """Take how many of a run's last epochs make its error: a report keeps five of each run."""
    return whole_number(text, least=1, most=LAST_EPOCHS)


def process_count(text: str) -> int:
    """Take a number of processes."""
    return whole_number(text, least=1, most=MOST_PROCESSES)


def seed_count(text: str) -> int:
    """Take a number of seeds."""
    return whole_number(text, least=1, most=MOST_SEEDS)


def number(text: str) -> float:
    """Take a number."""
    try:
        return float(text)
    except ValueError:
        msg = f"must be a number, not '{text}'"
        raise argparse.ArgumentTypeError(msg) from None


def seconds(text: str) -> float:
    """Take a number of seconds above 0."""
    return _above_0(text, most=MAX_SECONDS, what="a number of seconds above 0")


def margin(text: str) -> float:
    """Take a difference between results, above 0, in whatever unit these have."""
    return _above_0(text, most=sys.float_info.max, what="a number above 0, as in 0.3")


def _above_0(text: str, *, most: float, what: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        msg = f"must be {what}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def buffer_size(text: str) -> int:
    """Take a size such as 64KB, and return its bytes: whole float32 numbers."""
    number, unit = text[:-2].strip(), text[-2:].upper()
    if unit not in BYTES_OF or not number.isdecimal() or not 0 < int(number) * BYTES_OF[unit] <= LARGEST_BUFFER:
        msg = f"must be sizes such as 64KB,10MB (at most 1024MB), not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return int(number) * BYTES_OF[unit]


def list_of(take: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Return what takes several values with commas between them."""
    return lambda text: tuple(take(part) for part in text.split(","))


def word_among(known: Sequence[str]) -> Callable[[str], str]:
    """Return what takes one of the known words."""

    def take(text: str) -> str:
        if text not in known:
            msg = f"'{text}' is unknown; {nearest(text, list(known))}"
            raise argparse.ArgumentTypeError(msg)
        return text

    return take
