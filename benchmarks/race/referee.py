"""The referee: starts the racers, lets one after the other run a turn, and holds the clock."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from race.gate import ADDRESS, NAME

PATIENCE_SECONDS: Final = 300.0


@dataclass
class Racer:
    """A racer's processes.

    Attributes:
        name: of it.
        processes: how many.
        agent: torchrun.
        lines: what each process says.
        starting: seconds from its start to its first update.
    """

    name: str
    processes: int
    agent: "subprocess.Popen[bytes]"
    lines: list[tuple[socket.socket, IO[str]]] = field(default_factory=list)
    starting: float = 0.0

    def wait(self) -> None:
        """Wait until each process has reached the gate.

        Raises:
            RuntimeError: one has ended.
        """
        for _, lines in self.lines:
            if lines.readline() != "ready\n":
                msg = f"{self.name} has ended"
                raise RuntimeError(msg)

    def turn(self, samples: int) -> float:
        """Let each process read so many samples; return the seconds until all ask for more."""
        start = time.perf_counter()
        for connection, _ in self.lines:
            connection.sendall(f"{samples}\n".encode())
        self.wait()
        return time.perf_counter() - start


class Referee:
    """Starts racers of a task, and ends them all."""

    def __init__(self, task: str, processes: int) -> None:
        self.task, self.processes = task, processes
        self.racers: list[Racer] = []
        self.folder = tempfile.TemporaryDirectory(prefix="race-")
        self.address = str(Path(self.folder.name) / "referee")
        self.door = socket.socket(socket.AF_UNIX)
        self.door.bind(self.address)
        self.door.listen(64)
        self.door.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for racer in self.racers:
            for connection, lines in racer.lines:
                lines.close()
                connection.close()
            racer.agent.kill()
            racer.agent.wait()
        self.door.close()
        self.folder.cleanup()

    def start(self, name: str, *, samples: int) -> Racer:
        """Start a racer, and let it do its first update.

        Args:
            name: of the racer.
            samples: of its first update, in each process.
        """
        begin = time.perf_counter()
        environment = {**os.environ, ADDRESS: self.address, NAME: name.replace(" ", "_")}
        racer = Racer(name, self.processes, launch(name, self.task, self.processes, environment))
        self.racers.append(racer)
        for _ in range(self.processes):
            connection, _ = self.door.accept()
            connection.settimeout(PATIENCE_SECONDS)
            lines = connection.makefile()
            lines.readline()
            racer.lines.append((connection, lines))
        racer.wait()
        racer.turn(samples)
        racer.starting = time.perf_counter() - begin
        return racer


def launch(
    name: str, task: str, processes: int, environment: Mapping[str, str], *more: str
) -> "subprocess.Popen[bytes]":
    """Start a racer by torchrun."""
    command: list[Any] = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    command += ["-m", "race.racers", name, task, *more]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), environment.get("PYTHONPATH", "")])
    more_environment = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    log = Path(tempfile.gettempdir()) / "race.log"
    with log.open("ab") as file:
        return subprocess.Popen(
            list(map(str, command)), env={**environment, **more_environment}, stdout=file, stderr=subprocess.STDOUT
        )
