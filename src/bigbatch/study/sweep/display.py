"""The progress of a sweep: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from bigbatch.printable import printable
from bigbatch.recipe.metrics import Measure
from bigbatch.study.naming import result_in_words
from bigbatch.study.sweep.watching import Running

SECONDS_BETWEEN_LINES: Final = 30.0


class SweepDisplay:
    """Show how many runs have ended, the epochs and results of those in progress, and the time left.

    Args:
        total: the number of runs of the sweep.
        measure: what they are judged by.
        to_stderr: write to standard error, where standard output is for JSON.
    """

    def __init__(self, *, total: int, measure: Measure, to_stderr: bool = False) -> None:
        self.console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self.total, self.measure = total, measure
        self.last_line = time.monotonic()
        self.live: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        if self.console.is_terminal:
            columns = TextColumn("{task.description}", markup=False), BarColumn(20), MofNCompleteColumn()
            note = TextColumn("{task.fields[note]}", markup=False)
            self.live = Progress(*columns, note, console=self.console, transient=True)
            self.all_runs = self.live.add_task("runs", total=total, note="")

    def __enter__(self) -> Self:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        self.last_line = time.monotonic()
        self.console.print(printable(text), markup=False, emoji=False)

    def show(self, num_done: int, running: Sequence[Running], seconds_left: float | None) -> None:
        """Show how many runs have ended, and the progress of those that have not."""
        left = "" if seconds_left is None else f"about {in_minutes(seconds_left)} left"
        if self.live:
            self._show_bars(self.live, num_done, running, left)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            progress = ", ".join(filter(None, (f"{num_done}/{self.total}", left)))
            self.say("; ".join((progress, *(in_words(run, self.measure) for run in running))))

    def _show_bars(self, live: Progress, num_done: int, running: Sequence[Running], left: str) -> None:
        live.update(self.all_runs, completed=num_done, note=left)
        for name in self.tasks.keys() - {run.job.name for run in running}:
            live.remove_task(self.tasks.pop(name))
        for run in running:
            name = run.job.name
            if name not in self.tasks:
                self.tasks[name] = live.add_task(printable(name), total=run.total_epochs, note="")
            note = result_in_words(run.watch.result, self.measure)
            live.update(self.tasks[name], completed=run.watch.epoch, total=run.total_epochs, note=note)


def in_words(run: Running, measure: Measure) -> str:
    """Return the progress of a run."""
    result = result_in_words(run.watch.result, measure)
    return f"{run.job.name} epoch {run.watch.epoch}/{run.total_epochs} {result}".rstrip()


def in_minutes(seconds: float) -> str:
    """Return a time as minutes and seconds, or as hours, minutes and seconds.

    >>> in_minutes(75), in_minutes(7300)
    ('1:15', '2:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
