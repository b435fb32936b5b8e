"""Record a training on disk: metrics, run.json and checkpoints. Only rank 0 writes.

A full or read-only disk does not end a training at once: the lines wait in memory. Three failed checkpoints in a row
end it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.saving import Snapshot
from bigbatch.checkpoint.staging import Staging
from bigbatch.checkpoint.state import flatten
from bigbatch.checkpoint.writer import MAX_FAILURES, CheckpointWriter
from bigbatch.errors import SaveError, first_line
from bigbatch.processes.outcome import ExitCode, exit_code_of
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.metrics import Line, TimingLine
from bigbatch.runs.record import FAILED
from bigbatch.runs.summary import Summary
from bigbatch.training.consistency import Timing
from bigbatch.training.observers import Observers
from bigbatch.training.progress import ProgressDisplay


class Recorder:
    """Record one attempt of a run.

    Args:
        folder: of the run; its lock is held.
        recipe: of the run; its section `checkpoints` says when to save.
        display: for warnings and progress.
        summary: run.json at the start of the attempt; `write_summary` writes it.
        is_writer: False on every rank but 0, where nothing is recorded.

    Attributes:
        summary: run.json as it is now.
        is_state_checked: whether `check_state` has found that the state can be saved.
        settled: the last position that was saved with `must_wait`; the same on every process.
    """

    def __init__(
        self, folder: RunFolder, recipe: Recipe, display: ProgressDisplay, summary: Summary, *, is_writer: bool
    ) -> None:
        self.folder, self.display, self.is_writer = folder, display, is_writer
        self.schedule, self.recipe_text = recipe.checkpoints, to_toml(recipe)
        self.summary = summary
        self.waiting_lines: list[Line] = []
        self.is_warned = False
        self.saved_at = time.monotonic()
        self.settled: Position | None = None
        self.is_state_checked = False
        self.straggler: int | None = None
        self.writer, self.staging = CheckpointWriter(folder.checkpoints, keep=recipe.checkpoints.keep), Staging()
        self.observers = Observers(folder, recipe.launch.observers if is_writer else ())

    @property
    def has_given_up(self) -> bool:
        """Whether three checkpoints in a row could not be saved."""
        return self.writer.num_failures >= MAX_FAILURES

    @property
    def is_late(self) -> bool:
        """Whether it is time to save, by rank 0's clock; False while a checkpoint is being written."""
        seconds = self.schedule.every_seconds
        is_over = bool(seconds) and time.monotonic() - self.saved_at >= seconds
        return self.is_writer and is_over and not self.writer.is_busy

    def is_due_after(self, iteration: int) -> bool:
        """Tell whether a checkpoint is due after this number of updates; the same on every process."""
        return bool(self.schedule.every_iterations) and iteration % self.schedule.every_iterations == 0

    def is_due_after_epoch(self, epoch: int) -> bool:
        """Tell whether a checkpoint is due after this number of epochs; the same on every process."""
        return bool(self.schedule.every_epochs) and epoch % self.schedule.every_epochs == 0

    def requests(self, *, is_stopping: bool) -> frozenset[str]:
        """Return this process's requests to all processes, for the next step: some of `REQUESTS`."""
        wanted = {"stop": is_stopping or self.has_given_up, "save": self.is_late, "give up": self.has_given_up}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)

    def append(self, *lines: Line) -> None:
        """Append lines to metrics.jsonl, after those that could not be written before."""
        if self.is_writer and (lines or self.waiting_lines):
            self.waiting_lines += lines
            if self._try("the metrics", lambda: self.folder.append_metrics(*self.waiting_lines)):
                self.waiting_lines.clear()
            for warning in self.observers.warnings():
                self.display.say(warning)

    def write_summary(self, summary: Summary) -> bool:
        """Write run.json, and return whether that worked."""
        self.summary = summary
        return not self.is_writer or self._try("run.json", lambda: self.folder.write_summary(self.summary))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """Refuse, at the first iteration, a state that cannot be saved.

        Raises:
            InputError: the state has a value that is not plain.
        """
        flatten(state)
        self.is_state_checked = True

    def save(self, state: Mapping[str, Any], position: Position, *, must_wait: bool) -> None:
        """Copy the state and start to write it.

        Args:
            state: of the training.
            position: in the training.
            must_wait: whether to wait while another checkpoint is being written; otherwise this one is left out.
        """
        if must_wait:
            self.settled = position
        if self.is_writer and (must_wait or not self.writer.is_busy):
            self.writer.wait()  # before the copy, so that memory holds one at a time
            self.writer.submit(Snapshot.of(state, position, self.recipe_text, self.staging))
            self.saved_at = time.monotonic()

    def show_warnings(self) -> None:
        """Print the warnings of the checkpoints' writer."""
        while self.writer.warnings:
            self.display.say(self.writer.warnings.pop(0))

    def record_timing(self, timing: Timing, *, iteration: int) -> None:
        """Write the times of each process, and warn once of one that keeps the others waiting."""
        rank = timing.straggler
        if rank is not None and rank != self.straggler:
            self.display.say(f"warning: {timing.describe(rank)}")
        self.straggler = rank
        self.append(TimingLine(until_iteration=iteration, **asdict(timing), straggler=rank))

    def finish(self, ending: Summary) -> None:
        """Wait for the last checkpoint; if all is saved, write into run.json how the training has ended.

        Raises:
            SaveError: the last checkpoint, the metrics or run.json could not be written.
        """
        self._close()
        is_saved = not (self.writer.num_failures or self.waiting_lines) and self.write_summary(ending)
        self._end_observers()
        if not is_saved:
            msg = (
                f"the end of the training could not be saved to {self.folder.path}; the last good checkpoint stays: "
                "make room, and train with --resume"
            )
            raise SaveError(msg)

    def fail(self, error: Exception) -> None:
        """Wait for the last checkpoint, and write the error into run.json."""
        self._close()
        exit_code = exit_code_of(error) or ExitCode.FAILURE
        self.write_summary(replace(self.summary, status=FAILED, error=first_line(error), exit_code=exit_code))
        self._end_observers()

    def _close(self) -> None:
        self.writer.close()
        self.show_warnings()
        self.append()

    def _end_observers(self) -> None:
        """Wait a little for the observers, when run.json is written: a machine may kill this process now."""
        for warning in self.observers.close():
            self.display.say(warning)

    def _try(self, what: str, write: Callable[[], None]) -> bool:
        """Write, and return whether that worked; warn of the first failure in a row."""
        try:
            write()
        except OSError as error:
            if not self.is_warned:
                self.display.say(
                    f"warning: {what} could not be written to {self.folder.path} ({error.strerror}); training goes on"
                )
            self.is_warned = True
            return False
        self.is_warned = False
        return True
