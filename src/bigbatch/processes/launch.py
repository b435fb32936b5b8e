"""Start processes on this machine through torch's elastic launcher, and report once how they ended."""

import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bigbatch.errors import DisagreementError, PeerLostError, ProcessFailedError, ReaderLostError
from bigbatch.processes.interpreter import python_command
from bigbatch.processes.join import INTERFACES, LOOPBACK
from bigbatch.processes.outcome import EXIT_CODES, STORE, note_failure, read_outcome
from bigbatch.processes.parent import LAUNCHER
from bigbatch.processes.stop_signals import end_at_a_signal

TORCHS_LOG: Final = "torch.distributed.elastic.multiprocessing.api"
SIGNALS: Final = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def launch(arguments: Sequence[str], processes: int, *, max_restarts: int = 0, stop_seconds: float = 30) -> int:
    """Run `python -m bigbatch ARGUMENTS` as several processes on this machine; wait, and return the exit code.

    The processes meet through a file and talk over the loopback interface: nothing listens to the network. After a
    fault all are started again, at most `max_restarts` times. They are not if a restart would end the same way
    (`outcome`). After a signal they have `stop_seconds` to end by themselves.

    Raises:
        InputError, NonFiniteError, SaveError: a process reported it.
        ProcessFailedError: another failure; its text is the cause, or the traceback of the process that failed first.
        KeyboardInterrupt: the user interrupted before the processes ended by themselves.
        SystemExit: a signal came before the processes were started.
    """
    end_at_a_signal()
    with tempfile.TemporaryDirectory(prefix="bigbatch-") as name, _environment(name):
        folder = Path(name)
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{folder}/rendezvous",
            rdzv_configs={"store_type": "file"},
            max_restarts=max_restarts,
            local_addr="127.0.0.1",
            logs_specs=DefaultLogsSpecs(log_dir=name),
            **_known({"signals_to_handle": SIGNALS, "shutdown_timeout": max(30, round(stop_seconds))}),
        )
        _listen_to_torch(folder, max_restarts)
        ending: BaseException | None = None
        try:
            program, *words = python_command()
            elastic_launch(config, program)(*words, "-m", "bigbatch", *arguments)
        except ChildFailedError as error:
            killed = [failure for failure in error.failures.values() if failure.exitcode < 0]
            rank, first = error.get_first_failure()
            failed = (killed[0].local_rank, killed[0].exitcode) if killed else (rank, first.exitcode)
            ending = ProcessFailedError(find_cause(folder, *failed))
        except SignalException as error:
            ending = KeyboardInterrupt() if error.sigval == signal.SIGINT else SystemExit(128 + error.sigval)
        outcome = read_outcome(folder)
    if outcome and outcome.message:
        raise next(kind for kind, code in EXIT_CODES.items() if code == outcome.exit_code)(outcome.message)
    if outcome or ending is None:
        return outcome.exit_code if outcome else 0
    raise ending


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that this torch has. Torch 2.8 has neither: SIGUSR1 ends it, and it kills after 30 s."""
    return {name: value for name, value in settings.items() if name in LaunchConfig.__dataclass_fields__}


def find_cause(folder: Path, local_rank: int, exit_code: int) -> str:
    """Return why the last attempt ended: the error of the process that failed first for a reason of its own.

    A process that only lost another one counts if no other error is found, or if it reports that the other was late:
    torch has killed the late one since.

    Args:
        folder: of the launcher, where torch's records of errors are.
        local_rank: of a process that failed.
        exit_code: of that process; below 0 for a signal.
    """
    found = [(path.stat().st_mtime_ns, record) for path in _records(folder) if (record := _read_record(path))]
    own = [(time, record) for time, record in found if not record["message"].startswith(PeerLostError.__name__)]
    is_late = any("did not answer" in record["message"] for _, record in found)
    if not own and not is_late and exit_code < 0:
        return f"rank {local_rank} was killed by {signal.Signals(-exit_code).name}"
    if not found:
        return f"rank {local_rank} ended with exit code {exit_code}"
    _, first = min(own or found, key=lambda item: item[0])
    kind, _, text = first["message"].partition(": ")
    if kind in {PeerLostError.__name__, DisagreementError.__name__, ReaderLostError.__name__}:
        return str(text)
    return str(first["extraInfo"]["py_callstack"])


def _records(folder: Path) -> list[Path]:
    """Return torch's error files of the last attempt."""
    attempts = sorted(folder.glob("*/attempt_*"), key=lambda path: int(path.name.removeprefix("attempt_")))
    return list(attempts[-1].glob("*/error.json")) if attempts else []


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())["message"]
    except ValueError:  # the process was killed while it wrote
        return None
    return record


def _listen_to_torch(folder: Path, max_restarts: int) -> None:
    """Silence torch's launcher, as we report failures ourselves; but read its log record of a failed process."""
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    log = logging.getLogger(TORCHS_LOG)
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.handlers = [_Restarts(folder, max_restarts)]


class _Restarts(logging.Handler):
    """Print why processes are started again, and note it for their record."""

    def __init__(self, folder: Path, max_restarts: int) -> None:
        super().__init__()
        self.folder, self.max_restarts, self.number = folder, max_restarts, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Handle torch's record of the process that failed first."""
        match record.args:
            case (int(exit_code), int(local_rank), *_):
                pass
            case _:
                return
        self.number += 1
        *_, last_line = ["a process failed", *find_cause(self.folder, local_rank, exit_code).strip().splitlines()]
        note_failure(self.folder, last_line)
        if self.number <= self.max_restarts:
            print(f"bigbatch: {last_line}; restart {self.number} of {self.max_restarts}", file=sys.stderr)  # noqa: T201


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Set what the launched processes inherit."""
    ours = {
        STORE: f"{folder}/store",
        LAUNCHER: str(os.getpid()),
        **dict.fromkeys(INTERFACES, LOOPBACK),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # that store would listen on every interface
    }
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
