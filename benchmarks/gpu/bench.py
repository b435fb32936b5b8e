"""What a section is given: the device, the sizes, and a place for its findings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import torch

from record import Record

LONGEST_REASON = 300


@dataclass(frozen=True)
class Bench:
    """The device and sizes of all sections, and the record of this one.

    Attributes:
        record: of this section.
        folder: where it is written; sections may put files there.
        device: "cuda" or "cpu".
        is_short: whether only to show that all of it runs: tiny models, and few of everything.
        budget_seconds: of the section.
    """

    record: Record
    folder: Path
    device: str
    is_short: bool
    budget_seconds: float

    @property
    def is_cuda(self) -> bool:
        """Whether this runs on a GPU."""
        return self.device == "cuda"

    @property
    def left_seconds(self) -> float:
        """What is left of the budget."""
        return self.record.started + self.budget_seconds - time()

    def note(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        """Note a value."""
        self.record.values[name] = value
        self.record.write(self.folder)

    def promise(self, name: str, *, is_held: bool) -> None:
        """Note whether a promise held."""
        self.record.promises[name] = is_held
        self.record.write(self.folder)

    def leave_out(self, name: str, reason: str) -> None:
        """Note why something is not measured."""
        self.record.left_out[name] = reason[:LONGEST_REASON]
        self.record.write(self.folder)

    def measure(self, name: str, function: Callable[[], Any], *, seconds: float = 0.0) -> Any:  # noqa: ANN401
        """Measure and note a value; return None if there is no time for it, or if it fails.

        Args:
            name: of the value.
            function: returns it.
            seconds: that it may take on a GPU.

        Raises:
            RuntimeError: the GPU cannot be used any more; a new process can.
        """
        if not self.is_short and self.left_seconds < seconds:
            self.leave_out(name, f"no time left: it may take {seconds:.0f} s")
            return None
        try:
            self.note(name, function())
        except Exception as error:  # noqa: BLE001 - whatever it is, the next one is measured too
            self.leave_out(name, f"{type(error).__name__}: {error}")
            self.promise(f"{name}: it runs", is_held=False)
            self.wait()  # fails again if the GPU is in no state to go on
        return self.record.values.get(name)

    def check(self, name: str, function: Callable[[], bool], *, seconds: float = 0.0) -> None:
        """Note whether a promise holds, as the function tells; `measure` says what the others are."""
        if self.measure(name, function, seconds=seconds) is not None:
            self.promise(name, is_held=self.record.values.pop(name))

    def wait(self) -> None:
        """Wait for the device."""
        if self.is_cuda:
            torch.cuda.synchronize()
