"""From the text of an argument to its value; what argparse says of a refusal is one line."""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bigbatch.errors import nearest
from bigbatch.recipe.sections.launch import MAX_SECONDS
from bigbatch.runs.folder import LAST_EPOCHS

LARGEST_BUFFER: Final = 1 << 30
MOST_PROCESSES: Final = 1 << 16
MOST_SEEDS: Final = 1_000
FIGURES: Final = (".png", ".svg", ".pdf")


def file_or_folder(text: str) -> Path:
    """Take a path; an empty one would be the current folder."""
    if not text:
        msg = "must name a file or a folder, not ''"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def figure_file(text: str) -> Path:
    """Take the path of a figure."""
    path = file_or_folder(text)
    if path.suffix.lower() not in FIGURES:
        msg = f"must end in {', '.join(FIGURES[:-1])} or {FIGURES[-1]}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return path


def positive(text: str) -> int:
    """Parse a whole number above 0."""
    return _whole_number(text, least=1)


def not_negative(text: str) -> int:
    """Parse a whole number of at least 0."""
    return _whole_number(text, least=0)


def few_epochs(text: str) -> int:
    """Parse how many of a run's last epochs make its error: a report keeps five of each run."""
    number = _whole_number(text, least=1)
    if number > LAST_EPOCHS:
        msg = f"must be a whole number from 1 to {LAST_EPOCHS}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def _whole_number(text: str, *, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        msg = f"must be a whole number of at least {least}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def seconds(text: str) -> float:
    """Parse a number of seconds above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_SECONDS:
        msg = f"must be a number of seconds above 0, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def sizes(text: str) -> tuple[int, ...]:
    """Parse sizes such as 64KB,10MB into bytes."""
    return tuple(_size(part) for part in text.split(","))


def _size(text: str) -> int:
    """Return the bytes of a size such as 64KB; whole float32 numbers."""
    number, unit = text[:-2].strip(), text[-2:].upper()
    scale = {"KB": 1 << 10, "MB": 1 << 20}.get(unit)
    if scale is None or not number.isdecimal() or not 0 < int(number) * scale <= LARGEST_BUFFER:
        msg = f"must be sizes such as 64KB,10MB (at most 1024MB), not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return int(number) * scale


def iterations(text: str) -> tuple[int, ...]:
    """Parse whole numbers with commas between them."""
    return tuple(not_negative(part) for part in text.split(","))


def process_count(text: str) -> int:
    """Take a number of processes."""
    number = positive(text)
    if number > MOST_PROCESSES:
        msg = f"must be at most {MOST_PROCESSES}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def process_counts(text: str) -> tuple[int, ...]:
    """Take numbers of processes, separated by commas."""
    return tuple(process_count(part) for part in text.split(","))


def minibatch_sizes(text: str) -> tuple[int, ...]:
    """Take minibatch sizes, separated by commas."""
    return tuple(positive(part) for part in text.split(","))


def seed_count(text: str) -> int:
    """Take a number of seeds."""
    number = positive(text)
    if number > MOST_SEEDS:
        msg = f"must be at most {MOST_SEEDS}, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def percentage_points(text: str) -> float:
    """Take a difference between errors, above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 100:  # noqa: PLR2004 - per cent
        msg = f"must be percentage points above 0, as in 0.3, not '{text}'"
        raise argparse.ArgumentTypeError(msg)
    return number


def words_among(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return what takes some of the known words, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        for word in words:
            if word not in known:
                msg = f"'{word}' is unknown; {nearest(word, list(known))}"
                raise argparse.ArgumentTypeError(msg)
        return words

    return parse
