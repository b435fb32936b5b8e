"""Bits: one hash for a rerun, a new process, a resumption, any number of processes, buckets, memory and alignments."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch

from bench import Bench
from trials import Trial, in_a_group_of_one, in_processes, take_steps

ROOM_BYTES = 2 << 30


def run(bench: Bench) -> None:
    """Compare the hashes of the same few steps under all circumstances."""
    plain = Trial(bench.device, bench.is_short)
    expected = bench.measure("three steps", lambda: take_steps(plain))
    for name, take, seconds in circumstances(bench, plain):
        found = bench.measure(name, take, seconds=seconds)
        if found:
            bench.promise(f"{name}: the same bits", is_held=found == expected)
    compare_compiled(bench, replace(plain, is_compiled=True))


def circumstances(bench: Bench, plain: Trial) -> Iterator[tuple[str, Callable[[], str], float]]:
    """Yield what may not change a bit: its name, what returns the hash, and the seconds that it may take on a GPU."""
    folder = str(bench.folder / "checkpoint-bits")
    yield "a rerun, which saves", partial(take_steps, replace(plain, folder=folder)), 5
    in_place = take_steps if bench.is_short else in_processes
    yield "a new process, resumed", partial(in_place, replace(plain, folder=folder, is_resumed=True)), 20
    yield "images 4 bytes off", partial(take_steps, replace(plain, offset=1)), 5
    alone = replace(plain, all_reduce="direct")
    yield "a group of one", partial(in_a_group_of_one, alone), 8
    yield "a group of one, no overlap", partial(in_a_group_of_one, replace(alone, overlap=False)), 8
    yield "a group of one, small buckets", partial(in_a_group_of_one, replace(alone, bucket_mb=0.01)), 8
    if bench.is_cuda:
        yield "2 GB free", partial(in_little_memory, plain, ROOM_BYTES), 8
        yield "no memory beyond the peak", partial(in_little_memory, plain, 0), 8
    counts = (2,) if bench.is_short else (2, 4, 3)
    for count in counts:
        yield f"{count} processes over Gloo", partial(in_processes, replace(plain, world_size=count)), 10 + 8 * count


def compare_compiled(bench: Bench, compiled: Trial) -> None:
    """Compare one and two processes whose model is compiled."""
    if bench.is_short:
        bench.leave_out("compiled", "it takes a compiler, and minutes")
        return
    alone = bench.measure("compiled", lambda: in_processes(compiled), seconds=60)
    if alone:
        pair = bench.measure("compiled, 2 processes", lambda: in_processes(replace(compiled, world_size=2)), seconds=40)
        bench.promise("compiled: the same bits for 1 and 2 processes", is_held=pair == alone)


@contextmanager
def limited_memory(more_bytes: int) -> Iterator[None]:
    """Let torch take no more memory than its peak so far, and this much more."""
    limit = torch.cuda.max_memory_reserved() + more_bytes
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / torch.cuda.get_device_properties(0).total_memory))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def in_little_memory(trial: Trial, more_bytes: int) -> str:
    """Take the steps with no more memory than they need, or little more; return nothing if that was too little."""
    try:
        with limited_memory(more_bytes):
            return take_steps(trial)
    except torch.cuda.OutOfMemoryError:
        return ""
