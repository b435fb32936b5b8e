"""What a section has found so far, in a file that is whole at any time. It needs no torch."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RUNNING, DONE, FAILED = "running", "done", "failed"
ENDED = {DONE, FAILED}


@dataclass
class Record:
    """The findings of a section.

    Attributes:
        section: its name.
        started: by this machine's clock.
        status: `RUNNING`, `DONE` or `FAILED`.
        seconds: that it took.
        values: what was measured, by name: text, numbers, or tables of them.
        promises: whether each one held.
        left_out: why something was not measured, by its name.
        error: what ended a section that failed.
    """

    section: str
    started: float = field(default_factory=time.time)
    status: str = RUNNING
    seconds: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)
    promises: dict[str, bool] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def has_kept_all(self) -> bool:
        """Whether the section came to its end, and every promise held."""
        return self.status == DONE and all(self.promises.values())

    def write(self, folder: Path) -> None:
        """Write it into a folder, as a whole."""
        self.seconds = round(time.time() - self.started, 1)
        temporary = folder / f".{self.section}.json"
        temporary.write_text(json.dumps(asdict(self), indent=2) + "\n")
        temporary.replace(folder / f"{self.section}.json")

    @classmethod
    def read(cls, folder: Path, section: str) -> "Record | None":
        """Read what a section has written; None if it has not begun."""
        path = folder / f"{section}.json"
        return cls(**json.loads(path.read_text())) if path.exists() else None
