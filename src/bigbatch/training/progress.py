"""The progress of a training: a live line on a terminal, plain lines elsewhere, nothing on ranks other than 0."""

import time
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bigbatch.printable import printable

SECONDS_BETWEEN_LINES: Final = 30.0


class ProgressDisplay:
    """Show epoch, iteration, loss, rate, samples/s and time left.

    Args:
        total_iterations: updates of the whole training.
        first_iteration: updates done before this attempt.
        epochs: passes over the data.
        is_shown: False on every rank but 0.

    Attributes:
        samples_per_second: for the next line.
        noise_scale: of the gradient, in samples; None if it is not measured.
    """

    def __init__(self, *, total_iterations: int, first_iteration: int, epochs: int, is_shown: bool) -> None:
        self.console = Console(quiet=not is_shown, highlight=False, soft_wrap=True)
        self.total, self.first, self.epochs = total_iterations, first_iteration, epochs
        self.start = self.last_line = time.monotonic()
        self.samples_per_second = 0.0
        self.noise_scale: float | None = None
        self.live: Progress | None = None
        if is_shown and self.console.is_terminal:
            columns = (
                "{task.description}",
                "loss {task.fields[loss]:.3f}",
                "rate {task.fields[rate]:.4g}",
                "{task.fields[noise]}",
                "{task.fields[speed]:,.0f} samples/s",
            )
            self.live = Progress(
                *(TextColumn(column) for column in columns),
                BarColumn(20),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self.task = self.live.add_task(
                "", total=total_iterations, completed=first_iteration, loss=0.0, rate=0.0, speed=0.0, noise=""
            )

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
        self.console.print(printable(text), markup=False, emoji=False)

    def iteration(self, done: int, *, epoch: int, loss: float, rate: float) -> None:
        """Show the state after `done` iterations; epochs count from 0 here."""
        where = f"epoch {epoch + 1}/{self.epochs}  iteration {done}/{self.total}"
        if self.live:
            shown: dict[str, Any] = {
                "loss": loss,
                "rate": rate,
                "speed": self.samples_per_second,
                "noise": self._noise(),
            }
            self.live.update(self.task, completed=done, total=self.total, description=where, **shown)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            self.say(
                f"{where}  loss {loss:.4f}  rate {rate:.4g}  "
                f"{self._noise()}{self.samples_per_second:,.0f} samples/s  {self._left(done)} left"
            )

    def epoch(self, done: int, *, epoch: int, loss: float, rate: float, results: str) -> None:
        """Print the line of a finished epoch."""
        self.last_line = time.monotonic()
        self.say(
            f"epoch {epoch + 1}/{self.epochs}  iteration {done}/{self.total}  loss {loss:.4f}  rate {rate:.4g}  "
            f"{results}  {self._noise()}{self.samples_per_second:,.0f} samples/s  "
            f"{self._left(done)} left"
        )

    def _noise(self) -> str:
        return "" if self.noise_scale is None else f"noise scale {self.noise_scale:,.0f}  "

    def _left(self, done: int) -> str:
        rate = (time.monotonic() - self.start) / max(1, done - self.first)
        minutes, seconds = divmod(round(rate * (self.total - done)), 60)
        return f"{minutes}:{seconds:02d}"
