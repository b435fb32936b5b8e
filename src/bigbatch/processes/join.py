"""Join the processes that torchrun, srun or our own launcher has started."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import torch
import torch.distributed as dist

from bigbatch.errors import PeerLostError
from bigbatch.processes.device import backend, chosen_device
from bigbatch.processes.group import Processes, silent_meeting
from bigbatch.processes.numerics import default_variable, reproducible_numerics
from bigbatch.processes.outcome import STORE
from bigbatch.processes.place import Place, find_place
from bigbatch.processes.rendezvous import agree_on_a_word
from bigbatch.recipe import Launch

LOOPBACK: Final = "lo"
INTERFACES: Final = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True)
class Machine:
    """What this process computes on.

    Attributes:
        processes: that take part in the training.
        device: of this process.
        threads: of this process on the CPU; the bits depend on them.
    """

    processes: Processes
    device: torch.device
    threads: int


@contextmanager
def joined(
    *, threads: int = 1, timeout_seconds: float = Launch.timeout_seconds, tf32: bool = False
) -> Iterator[Machine]:
    """Join the processes that torchrun or srun has started, for the time of a training; or run alone.

    This sets what the bits depend on: the number of threads, deterministic algorithms, and whether a GPU computes
    float32 in TF32. It restores them when it is left, also after an error. The group of processes stays after an error:
    end the process then.

    Args:
        threads: of each process on the CPU; the bits depend on them.
        timeout_seconds: how long to wait for a process that does not answer.
        tf32: let a GPU round float32 to TF32 in convolutions and products of matrices, which is faster.

    Raises:
        InputError: more processes on this machine than GPUs.
        PeerLostError: another process did not come.
    """
    place = find_place(os.environ) or Place()
    with reproducible_numerics(threads, tf32=tf32), chosen_device(place) as device:
        if place.world_size == 1:
            yield Machine(Processes(), device, threads)
            return
        with _interfaces(place):
            _meet(place, device, timedelta(seconds=timeout_seconds))
            yield Machine(Processes(place.rank, place.world_size), device, threads)
            dist.destroy_process_group()  # not after an error: then the process ends, and the others notice


@contextmanager
def _interfaces(place: Place) -> Iterator[None]:
    """Let Gloo and NCCL use the loopback interface if all processes are on one machine."""
    with ExitStack() as stack:
        if place.world_size == place.local_world_size:
            for name in INTERFACES:
                stack.enter_context(default_variable(name, LOOPBACK))
        yield


def _meet(place: Place, device: torch.device, timeout: timedelta) -> None:
    """Make torch's process group.

    Raises:
        PeerLostError: another process did not come.
    """
    try:
        store = _store(place, timeout)
        with silent_meeting():
            dist.init_process_group(
                backend(device), store=store, rank=place.rank, world_size=place.world_size, timeout=timeout
            )
    except RuntimeError as error:
        msg = f"the group of {place.world_size} processes did not come together ({error})"
        raise PeerLostError(msg) from error


def _store(place: Place, timeout: timedelta) -> dist.Store:
    """Return the store to meet in. Each attempt has a prefix of its own, so that no old address is read."""
    if STORE in os.environ:
        store: dist.Store = dist.FileStore(os.environ[STORE])
    elif os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun's own store, which outlives an attempt
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = dist.TCPStore(address, port, place.world_size, is_master=False, timeout=timeout)
    else:
        store = next(iter(dist.rendezvous("env://", place.rank, place.world_size, timeout=timeout)))[0]
    word = agree_on_a_word(store, rank=place.rank, world_size=place.world_size, timeout=timeout)
    return dist.PrefixStore(f"bigbatch/{word}", store)
