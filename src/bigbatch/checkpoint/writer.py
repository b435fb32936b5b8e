"""Checkpoints written in the background: training waits for the copy of its state, but not for the disk."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from bigbatch.checkpoint.saving import Snapshot, save_checkpoint

MAX_FAILURES: Final = 3


class CheckpointWriter:
    """Write checkpoints one after the other, in a thread.

    Args:
        folder: of the checkpoints.
        keep: how many of the newest stay.

    Attributes:
        num_failures: how many of the last saves have failed in a row.
        warnings: of failed saves; the caller shows them and removes them.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self.num_failures = 0
        self.warnings: list[str] = []
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="bigbatch-checkpoints")
        self.saving: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a checkpoint is being written."""
        return self.saving is not None and not self.saving.done()

    def submit(self, snapshot: Snapshot) -> None:
        """Start to write a checkpoint, when the one before is written."""
        self.wait()
        self.saving = self.thread.submit(self._save, snapshot)

    def wait(self) -> None:
        """Wait until the last checkpoint is written, or has failed."""
        if self.saving:
            self.saving.result()

    def close(self) -> None:
        """Wait as `wait` does, and end the thread."""
        self.thread.shutdown()
        self.wait()

    def _save(self, snapshot: Snapshot) -> None:
        try:
            save_checkpoint(self.folder, snapshot, keep=self.keep)
        except OSError as error:
            self.num_failures += 1
            iteration, reason = snapshot.position.iteration, error.strerror or error
            self.warnings.append(
                f"warning: the checkpoint of iteration {iteration} could not be saved ({reason}); training goes on, "
                f"and the last good checkpoint stays"
            )
        else:
            self.num_failures = 0
