"""A word that the processes of one attempt share, and no attempt before it had."""

import time
from datetime import timedelta
from typing import Final
from uuid import uuid4

import torch.distributed as dist

SECONDS_BETWEEN_LOOKS: Final = 0.01


def agree_on_a_word(store: dist.Store, *, rank: int, world_size: int, timeout: timedelta) -> str:
    """Return a new word, the same for all processes that meet now.

    A store may outlive the processes of an attempt, and then holds what they have written. torchrun's number of the
    attempt does not help: each machine counts its own. So every process shows a word of its own. Rank 0 answers under
    that word until all processes of this attempt have read the answer. An answer to an earlier attempt is read by none.

    Raises:
        RuntimeError: not all processes came in time.
    """
    own = uuid4().hex
    if rank == 0:
        _welcome(store, own, world_size, timeout)
        return own
    store.set(f"bigbatch/hello/{rank}", own)
    store.wait([f"bigbatch/welcome/{own}"], timeout)
    word = store.get(f"bigbatch/welcome/{own}").decode()
    store.set(f"bigbatch/heard/{word}/{rank}", "")
    return word


def _welcome(store: dist.Store, word: str, world_size: int, timeout: timedelta) -> None:
    deadline = time.monotonic() + timeout.total_seconds()
    answered = dict.fromkeys(range(1, world_size), b"")
    while answered:
        for peer in list(answered):
            if store.check([f"bigbatch/heard/{word}/{peer}"]):
                del answered[peer]
            elif store.check([f"bigbatch/hello/{peer}"]):
                hello = store.get(f"bigbatch/hello/{peer}")
                if hello != answered[peer]:
                    store.set(f"bigbatch/welcome/{hello.decode()}", word)
                    answered[peer] = hello
        if time.monotonic() > deadline:
            msg = f"timed out waiting for {' and '.join(f'rank {peer}' for peer in answered)}"
            raise RuntimeError(msg)
        time.sleep(SECONDS_BETWEEN_LOOKS)
