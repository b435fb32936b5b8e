"""Find the process that is gone or late when a message does not come."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Final

import torch.distributed as dist

from bigbatch.errors import PeerLostError, first_line

GRACE_SECONDS: Final = 2.0  # for all processes to notice that one is late


@contextmanager
def communicating() -> Iterator[None]:
    """Turn an error of a collective into one that names the process that is gone or late.

    Raises:
        PeerLostError: a process ended, or did not answer within the group's timeout.
    """
    try:
        yield
    except PeerLostError:
        raise
    except RuntimeError as error:
        raise lost(error) from error


def wait_for_peers(is_done: Callable[[], bool], timeout_seconds: float) -> None:
    """Ask until it is done: at once, then at intervals that grow with the time that has passed, to 10 ms.

    Raises:
        PeerLostError: it is not done in time; names the processes that have not given up as well.
    """
    start = time.monotonic()
    while not is_done():
        passed = time.monotonic() - start
        if passed > timeout_seconds:
            raise lost(RuntimeError(f"timed out after {passed:.0f} s"))
        time.sleep(min(0.01, passed / 100))


def lost(error: RuntimeError, peer: int | None = None) -> PeerLostError:
    """Return the error that names the process that did not answer, or has ended.

    Args:
        error: of the backend.
        peer: the process that was waited for; None for all.
    """
    is_late = "imed out" in str(error) or "imeout" in str(error)
    culprits: list[int] = []
    with suppress(RuntimeError, ValueError):  # no group, or the process that kept its store has ended
        culprits = find_culprits(peer, GRACE_SECONDS if is_late else 0.2)
    who = " and ".join(f"rank {rank}" for rank in culprits) or "another process"
    what = "did not answer within the timeout" if is_late else "has ended"
    return PeerLostError(f"{who} {what} ({first_line(error)})")


def find_culprits(peer: int | None, grace_seconds: float) -> list[int]:
    """Return the processes that are gone or late.

    A process that gives up writes into the store which peer it waited for. From a peer that has written, the search
    goes on to the peer that it waited for, and ends at one that has written nothing. If no single peer was waited for,
    all processes that have written nothing are returned.
    """
    store = dist.distributed_c10d._get_default_store()  # noqa: SLF001 - torch has no public way to it
    rank, deadline = dist.get_rank(), time.monotonic() + grace_seconds
    store.set(f"lost/{rank}", "" if peer is None else str(peer))

    def report(of: int) -> str | None:
        """Return the peer that this rank waited for, as it has written it; None if it has written nothing."""
        left = max(deadline - time.monotonic(), 0.01)
        try:
            store.wait([f"lost/{of}"], timedelta(seconds=left))
        except RuntimeError:
            return None
        return store.get(f"lost/{of}").decode()

    if peer is not None:
        seen = {rank}
        while peer not in seen:
            waited_for = report(peer)
            if waited_for is None:
                return [peer]
            if not waited_for:
                break
            seen.add(peer)
            peer = int(waited_for)
    return [of for of in range(dist.get_world_size()) if report(of) is None]
