"""Processes that meet agree on a new word, also when ended processes have left old ones in the store."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from bigbatch.processes.rendezvous import agree_on_a_word

SECONDS = timedelta(seconds=60)


def meet(store, world_size):
    with ThreadPoolExecutor(world_size) as pool:
        words = pool.map(
            lambda rank: agree_on_a_word(store, rank=rank, world_size=world_size, timeout=SECONDS), range(world_size)
        )
        return set(words)


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_all_get_one_word_and_another_one_each_time(tmp_path, world_size):
    store = dist.FileStore(str(tmp_path / "store"))
    words = [meet(store, world_size) for _ in range(3)]
    assert [len(word) for word in words] == [1, 1, 1]
    assert len(set.union(*words)) == 3


def test_what_processes_that_died_while_they_met_have_written_does_not_matter(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"))
    for rank in range(1, 6):
        store.set(f"bigbatch/hello/{rank}", f"dead{rank}")  # five that died before rank 0 answered
    store.set("bigbatch/welcome/dead1", "old")
    first = meet(store, 3)
    assert len(first) == 1
    assert len(meet(store, 5) | first) == 2, "a group may grow"
    assert len(meet(store, 2) | first) == 2, "and shrink"


def test_who_does_not_come_is_named(tmp_path):
    store = dist.FileStore(str(tmp_path / "store"))
    with pytest.raises(RuntimeError, match="timed out waiting for rank 1 and rank 2"):
        agree_on_a_word(store, rank=0, world_size=3, timeout=timedelta(seconds=0.1))
