"""The progress of a sweep's runs, and how long the rest will take."""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from bigbatch.runs.folder import run_result
from bigbatch.runs.metrics import EpochLine, parse_line
from bigbatch.study.configuration import Configuration
from bigbatch.study.sweep.jobs import Job


class Watch:
    """The epochs of a run and their results, read from its metrics while these are written.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.offset = folder / "metrics.jsonl", 0
        self.results: dict[int, float] = {}
        self.total_epochs: int | None = None  # from the run: with AdaScale its recipe does not know
        self.look()
        self.first_epoch = self.epoch

    @property
    def epoch(self) -> int:
        """The number of epochs that have ended."""
        return max(self.results, default=0)

    @property
    def result(self) -> float | None:
        """The run's result so far: the median of its last 5 epochs."""
        return run_result([self.results[epoch] for epoch in sorted(self.results)]) if self.results else None

    def look(self) -> None:
        """Read what was written since the last look, up to the last whole line."""
        new = b""
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(self.offset)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.splitlines():
            parsed = parse_line(line)
            if isinstance(parsed, EpochLine) and parsed.result is not None:
                self.results[parsed.epoch] = parsed.result
                self.total_epochs = parsed.total_epochs


@dataclass(frozen=True)
class Running:
    """A run in progress.

    Attributes:
        job: the run.
        watch: its epochs and results.
        since: when it was started (a monotonic clock).
    """

    job: Job
    watch: Watch
    since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """The seconds since it was started."""
        return time.monotonic() - self.since

    @property
    def total_epochs(self) -> int:
        """Epochs that it will have trained in the end."""
        return max(self.watch.total_epochs or math.ceil(self.job.recipe.epochs), self.watch.epoch, 1)

    @property
    def num_epochs(self) -> float:
        """Epochs since it was started, counted in its recipe's unit; AdaScale's, which are more, count less."""
        return (self.watch.epoch - self.watch.first_epoch) * self.job.recipe.length.amount / self.total_epochs

    @property
    def epochs_left(self) -> float:
        """Epochs that are left, counted in its recipe's."""
        return (self.total_epochs - self.watch.epoch) * self.job.recipe.length.amount / self.total_epochs


class Pace:
    """The seconds that an epoch of each configuration takes, as measured."""

    def __init__(self) -> None:
        self.measured: dict[Configuration, list[float]] = defaultdict(list)

    @classmethod
    def of_finished(cls, runs: Iterable[tuple[Job, float | None]]) -> "Pace":
        """Return the pace of runs that had ended before, from those whose seconds are known."""
        pace = cls()
        for job, seconds in runs:
            if seconds:
                pace.measured[job.configuration].append(seconds / job.recipe.length.amount)
        return pace

    def add(self, run: Running) -> None:
        """Add the time of a run, which includes the start of its process."""
        if run.num_epochs:
            self.measured[run.job.configuration].append(run.seconds / run.num_epochs)

    def seconds_an_epoch(self, configuration: Configuration) -> float:
        """Return the mean of the configuration, or else of its size, or else of all; there must be some measurement."""
        size = configuration.minibatch_size
        same_size = [
            seconds for other, known in self.measured.items() if other.minibatch_size == size for seconds in known
        ]
        everything = [seconds for known in self.measured.values() for seconds in known]
        return mean(self.measured.get(configuration) or same_size or everything)

    def seconds_left(self, waiting: Sequence[Job], running: Sequence[Running], *, at_once: int) -> float | None:
        """Estimate the seconds until all runs have ended; None while nothing is measured.

        Args:
            waiting: runs to be started.
            running: runs in progress; each continues at its own pace once it has one.
            at_once: how many runs are in progress at a time.
        """
        known = Pace()
        known.measured |= self.measured
        for run in running:
            if run.job.configuration not in self.measured:
                known.add(run)
        if not known.measured:
            return None
        rest = [known._rest(run) for run in running]
        rest += [job.recipe.length.amount * known.seconds_an_epoch(job.configuration) for job in waiting]
        return max(sum(rest) / at_once, *rest) if rest else 0.0

    def _rest(self, run: Running) -> float:
        own = run.seconds / run.num_epochs if run.num_epochs else None
        return run.epochs_left * (own or self.seconds_an_epoch(run.job.configuration))
