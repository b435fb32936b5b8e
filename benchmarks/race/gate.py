"""What a racer's data waits at: nothing is read beyond a turn before the referee says go.

So every racer stays as it is, in processes of its own that live through the whole race, and only one of them computes
at a time. A trainer that reads one batch ahead does so in every turn, so that each has the same work in it.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from torch.utils.data import Dataset

ADDRESS: Final = "RACE_ADDRESS"
TURN: Final = "RACE_SAMPLES_PER_TURN"  # of one process
NAME: Final = "RACE_NAME"


class Gated(Dataset[Any]):
    """A data set that lets so many samples through, and then waits.

    Args:
        samples: what is read.
    """

    def __init__(self, samples: Sequence[Any]) -> None:
        self.samples = samples
        self.left = 0
        self.referee = socket.socket(socket.AF_UNIX)
        self.referee.connect(os.environ[ADDRESS])
        self.referee.sendall(f"{os.environ[NAME]} {os.environ.get('RANK', '0')}\n".encode())

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - as the data has it
        if not self.left:
            self._wait()
        self.left -= 1
        return self.samples[index]

    def _wait(self) -> None:
        self.referee.sendall(b"ready\n")
        answer = self.referee.recv(64)
        if not answer.strip():
            os._exit(0)  # the race is over
        self.left = int(answer)
