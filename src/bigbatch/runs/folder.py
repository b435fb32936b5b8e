"""A run's folder: its recipe, its summary, its metrics and its checkpoints."""

import errno
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from statistics import median
from typing import Final

from bigbatch.atomic_file import write_atomically
from bigbatch.errors import InputError
from bigbatch.paths import is_file
from bigbatch.recipe import Recipe, differences, is_longer
from bigbatch.recipe.file import read_recipe, to_toml
from bigbatch.runs.lock import LOCK
from bigbatch.runs.metrics import EpochLine, IterationLine, Line, parse_line
from bigbatch.runs.summary import Summary

LAST_EPOCHS: Final = 5
RUNS_FOLDER: Final = Path("runs")
MAX_RUNS: Final = 10_000


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run: run.json, recipe.toml, metrics.jsonl, checkpoints/."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe of the run."""
        return read_recipe(self.path / "recipe.toml")

    def exists(self) -> bool:
        """Tell whether the folder holds a run."""
        return is_file(self.path / "recipe.toml")

    def check(self, recipe: Recipe, *, resume: bool, may_be_longer: bool = False) -> None:
        """Refuse a folder that this run must not write to. Nothing is changed.

        Args:
            recipe: of the run.
            resume: whether it may be there already.
            may_be_longer: whether it may be there with a shorter training.

        Raises:
            InputError: it holds another recipe's run, this recipe's run while `resume` is off, or other files.
        """
        if self.exists():
            changed = differences(self.recipe, recipe)
            if changed and not (resume and may_be_longer and is_longer(self.recipe, recipe)):
                verb = "cannot resume" if resume else "holds another recipe's run"
                msg = f"{self.path} {verb}: the recipe differs in {'; '.join(changed)}; choose another --output"
                raise InputError(msg)
            if not resume:
                msg = f"{self.path} already holds this run; add --resume to go on with it, or choose another --output"
                raise InputError(msg)
        elif self.path.is_dir() and not {path.name for path in self.path.iterdir()} <= {LOCK}:
            msg = f"{self.path} is not empty and holds no run; choose another --output"
            raise InputError(msg)
        elif self.path.exists() and not self.path.is_dir():
            msg = f"{self.path} is a file; choose another --output"
            raise InputError(msg)

    def create(self, recipe: Recipe) -> None:
        """Make the folder and write the recipe, unless it is there. The caller holds the lock.

        Raises:
            InputError: the folder cannot be written, or holds another recipe's run.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            if self.exists():
                self.check(recipe, resume=True, may_be_longer=True)
            if not self.exists() or is_longer(self.recipe, recipe):
                self.__dict__.pop("recipe", None)  # what was read of it before
                write_atomically(self.path / "recipe.toml", to_toml(recipe).encode())
        except OSError as error:
            msg = f"cannot write the run to {self.path} ({error.strerror}); choose another --output"
            raise InputError(msg) from error

    def write_summary(self, summary: Summary) -> None:
        """Replace run.json.

        Raises:
            OSError: it cannot be written; the old one is still there.
        """
        write_atomically(self.path / "run.json", (json.dumps(summary.to_json(), indent=2) + "\n").encode())

    def read_summary(self) -> Summary:
        """Return run.json.

        Raises:
            InputError: the folder holds no run, or run.json is damaged.
        """
        try:
            summary = json.loads(_read(self.path / "run.json"))
        except (OSError, ValueError, RecursionError) as error:
            msg = f"{self.path} holds no run ({getattr(error, 'strerror', None) or 'run.json is damaged'})"
            raise InputError(msg) from error
        if not isinstance(summary, dict):
            msg = f"{self.path} holds no run (run.json is damaged)"
            raise InputError(msg)
        return Summary.read(summary)

    def read_summary_or_nothing(self) -> Summary | None:
        """Return run.json; None if there is none yet, or it is damaged or empty."""
        with suppress(InputError):
            summary = self.read_summary()
            return summary if summary.raw else None
        return None

    def append_metrics(self, *lines: Line) -> None:
        """Append lines to metrics.jsonl.

        Raises:
            OSError: they cannot be written.
        """
        with (self.path / "metrics.jsonl").open("ab+") as file:
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":
                file.write(b"\n")  # the last writer was killed within a line
            file.writelines(json.dumps(line.to_json()).encode() + b"\n" for line in lines)

    def read_epochs(self) -> list[EpochLine]:
        """Return the epochs' lines of metrics.jsonl in order; of a repeated epoch the last."""
        last = {line.epoch: line for line in self._metrics() if isinstance(line, EpochLine)}
        return [last[number] for number in sorted(last)]

    def read_iterations(self) -> list[IterationLine]:
        """Return the iterations' lines of metrics.jsonl in order; of a repeated iteration the last."""
        last = {line.iteration: line for line in self._metrics() if isinstance(line, IterationLine)}
        return [last[number] for number in sorted(last)]

    def mentions(self, name: str) -> bool:
        """Tell whether a line of metrics.jsonl may have this value. This is quicker than parsing all lines."""
        try:
            return f'"{name}"'.encode() in _read(self.path / "metrics.jsonl")
        except OSError:
            return False

    def _metrics(self) -> Iterator[Line]:
        try:
            lines = _read(self.path / "metrics.jsonl").split(b"\n")
        except OSError:
            return
        yield from (parsed for line in lines if (parsed := parse_line(line)))


def _read(path: Path) -> bytes:
    """Read a regular file; refuse a pipe, which may never end."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, f"{path.name} is no file")
    return path.read_bytes()


def default_folder(recipe: Recipe, *, resume: bool) -> Path:
    """Return runs/NAME-MINIBATCH-seedSEED, or the first of -2, -3, ... that is free; to resume, the last one there."""
    first = RUNS_FOLDER / f"{recipe.name}-{recipe.minibatch_size}-seed{recipe.seed}"
    taken = list(takewhile(Path.exists, (first, *(Path(f"{first}-{number}") for number in range(2, MAX_RUNS)))))
    if resume:
        return taken[-1] if taken else first
    return first if not taken else Path(f"{first}-{len(taken) + 1}")


def run_result(results: Sequence[float], *, last: int = LAST_EPOCHS) -> float:
    """Return the result of a run: the median of its last 5 epochs (arXiv 1706.02677, section 5.1).

    >>> run_result([50.0, 3.0, 2.0, 9.0, 2.5, 2.6])
    2.6
    """
    return median(results[-last:])
