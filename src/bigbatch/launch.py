"""Processes: join the group of them, or start them through torch's elastic launcher."""

import ctypes
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import torch
import torch.distributed as dist
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from bigbatch.errors import InputError, PeerLostError, ProcessFailedError
from bigbatch.place import Place, find_place
from bigbatch.reduction.processes import Processes

STORE: Final = "BIGBATCH_STORE"  # the file through which the processes of one machine find each other
LOOPBACK: Final = "lo"
TIMEOUT_SECONDS: Final = 120.0
PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class Machine:
    """What this process computes on.

    Attributes:
        processes: who takes part in the training.
        device: of this process.
        threads: of this process on the CPU; they are a part of what the bits depend on.
    """

    processes: Processes
    device: torch.device
    threads: int


def default_process_count(worker_count: int) -> int:
    """Return as many processes as there are GPUs, or else cores, but no more than workers."""
    units = torch.cuda.device_count() if torch.cuda.is_available() else len(os.sched_getaffinity(0))
    return max(1, min(units, worker_count))


@contextmanager
def joined(*, threads: int = 1, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Machine]:
    """Join the processes that torchrun or srun has started for the time of a training, or run alone.

    Sets what the bits depend on: the number of threads, and deterministic algorithms.

    Args:
        threads: of each process on the CPU; other threads, other bits.
        timeout_seconds: after which a process that does not answer is given up.

    Raises:
        InputError: more processes on this machine than GPUs.
        PeerLostError: another process did not come.
    """
    place = find_place(os.environ) or Place()
    device = _prepare_device(place, threads)
    if place.world_size == 1:
        yield Machine(Processes(), device, threads)
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if place.world_size == place.local_world_size:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    try:
        timeout = timedelta(seconds=timeout_seconds)
        store = _store(place, timeout)
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.world_size, timeout=timeout)
    except RuntimeError as error:
        msg = f"the group of {place.world_size} processes did not come together ({error})"
        raise PeerLostError(msg) from error
    yield Machine(Processes(place.rank, place.world_size), device, threads)
    dist.destroy_process_group()  # after an error the process ends instead: its peers must notice


def launch(arguments: Sequence[str], processes: int) -> None:
    """Run `python -m bigbatch ARGUMENTS` as several processes on this machine, and wait for them.

    They meet through a file and talk over the loopback interface: nothing listens to the network.

    Raises:
        InputError: what a process said of bad input.
        ProcessFailedError: another failure; its text is the traceback of the process that failed first.
        KeyboardInterrupt: the user interrupted.
    """
    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # we report failures ourselves, once
    with tempfile.TemporaryDirectory(prefix="bigbatch-") as folder, _environment(folder):
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint=f"{folder}/rendezvous",
            rdzv_configs={"store_type": "file"},
            max_restarts=0,
            local_addr="127.0.0.1",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "bigbatch", *arguments)
        except ChildFailedError as error:
            raise _cause(error, Path(folder)) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise SystemExit(128 + error.sigval) from None


def die_with_parent() -> None:
    """Ask the kernel to end this process when its launcher ends: `kill -9` of a launcher leaves none behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare_device(place: Place, threads: int) -> torch.device:
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid, slow
    torch.backends.cudnn.benchmark = False
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if place.local_rank >= torch.cuda.device_count():
        msg = f"{place.local_world_size} processes need as many GPUs, but this machine has {torch.cuda.device_count()}"
        raise InputError(msg)
    device = torch.device("cuda", place.local_rank)
    torch.cuda.set_device(device)
    return device


def _store(place: Place, timeout: timedelta) -> dist.Store:
    """Return the store to meet in, with a prefix for the attempt: a restart must not find the addresses of the dead."""
    run, attempt = os.environ.get("TORCHELASTIC_RUN_ID", "run"), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if STORE in os.environ:
        store: dist.Store = dist.FileStore(os.environ[STORE], place.world_size)
    else:
        store = next(iter(dist.rendezvous("env://", place.rank, place.world_size, timeout=timeout)))[0]
    return dist.PrefixStore(f"bigbatch/{run}/{attempt}", store)


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Set what the launched processes inherit."""
    ours = {
        STORE: f"{folder}/store",
        "GLOO_SOCKET_IFNAME": LOOPBACK,
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


def _cause(error: ChildFailedError, folder: Path) -> Exception:
    """Return the error of the process that failed first; those that only lost their peers come last."""
    records = [
        (path.stat().st_mtime_ns, record) for path in folder.rglob("error.json") if (record := _read_record(path))
    ]
    own = [(time, record) for time, record in records if not record["message"].startswith(PeerLostError.__name__)]
    killed = [f for f in error.failures.values() if f.exitcode < 0 and f.exitcode != -signal.SIGTERM]
    if not own and killed:
        return ProcessFailedError(
            f"rank {killed[0].local_rank} was killed by {signal.Signals(-killed[0].exitcode).name}"
        )
    if not records:
        rank, failure = error.get_first_failure()
        return ProcessFailedError(f"rank {rank} ended with exit code {failure.exitcode}")
    _, first = min(own or records, key=lambda item: item[0])
    kind, _, text = first["message"].partition(": ")
    if kind == InputError.__name__:
        return InputError(text)
    if kind == PeerLostError.__name__:
        return ProcessFailedError(f"bigbatch: {text}")
    return ProcessFailedError(first["extraInfo"]["py_callstack"])


def _read_record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())["message"]
    except ValueError:  # the process was killed while it wrote
        return None
    return record
