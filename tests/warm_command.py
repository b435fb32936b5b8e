"""A process that has imported what the command needs, and forks for every run of it: some seconds saved each time.

As a program: python warm_command.py SOCKET, the number of an inherited socket on which it takes its orders.
"""

import gc
import json
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

# What is read while torch or Python starts. PYTHONPATH can be made up for.
EARLY = (
    "ATEN",
    "CUDA",
    "CUBLAS",
    "CXX",
    "GLOO",
    "KMP",
    "LD",
    "MALLOC",
    "MKL",
    "NPY",
    "OMP",
    "ONEDNN",
    "OPENBLAS",
    "PYTHON",
    "TORCH",
)
PATH = "PYTHONPATH"


class WarmCommand:
    """Runs `python -m bigbatch`, each time in a new process that starts where all is imported."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.environment = dict(os.environ)
        command = [sys.executable, __file__, str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self.orders = ours.makefile("rw")
        self.socket = ours

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a run with this environment would be the same in a process that has started already."""
        names = self.environment.keys() | environment.keys()
        changed = {name for name in names if self.environment.get(name) != environment.get(name)}
        at_start = any(Path(folder, "sitecustomize.py").exists() for folder in _folders(environment))
        return not at_start and not any(name.startswith(EARLY) for name in changed - {PATH})

    def run(
        self, arguments: list[str], *, folder: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run it with these arguments, and return what `subprocess.run` would."""
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            order = {"arguments": arguments, "folder": str(folder), "environment": environment}
            socket.send_fds(self.socket, [b"."], [out.fileno(), err.fileno()])
            self.orders.write(json.dumps(order) + "\n")
            self.orders.flush()
            self.socket.settimeout(timeout)
            code = json.loads(self.orders.readline())
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(["bigbatch", *arguments], code, out.read(), err.read())

    def close(self) -> None:
        """End the process."""
        self.orders.close()
        self.socket.close()
        self.process.wait()


def _folders(environment: Mapping[str, str]) -> list[str]:
    """Return those of PYTHONPATH."""
    return list(filter(None, environment.get(PATH, "").split(os.pathsep)))


def serve(orders: socket.socket) -> None:
    """Fork for each order, and answer with the exit code."""
    for module in ("torch._dynamo", "bigbatch.cli", "bigbatch.training.trainer", "bigbatch.study.report.page.files"):
        import_module(module)

    gc.collect()
    gc.freeze()  # no page of it is copied by a collection
    while True:
        _, files, _, _ = socket.recv_fds(orders, 1, 2)
        if not files:
            return
        line = b""
        while not line.endswith(b"\n"):
            line += orders.recv(1 << 16)
        pid = os.fork()
        if not pid:
            become(json.loads(line), files)
            return
        for file in files:
            os.close(file)
        _, status = os.waitpid(pid, 0)
        orders.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def become(order: dict[str, object], files: list[int]) -> None:
    """Run the command in this process."""
    for place, file in enumerate(files, start=1):
        os.dup2(file, place)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.path[:1] = [str(Path.cwd()), *_folders(os.environ)]  # as `python -m` has it
    sys.argv = ["bigbatch", *order["arguments"]]
    runpy.run_module("bigbatch", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
