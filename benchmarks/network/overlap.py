"""How much of the communication hides behind backpropagation: no communication, sequential and overlapped, in turn.

Run from the repository's root, as root: python benchmarks/network/overlap.py. It starts itself on every host.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.distributed as dist
from emulation import Link, emulated_network, missing, run_group
from torch import nn

from bigbatch.launch import Machine, joined
from bigbatch.models import build_model
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step import Step
from card import write_card

CASES = {  # hosts, Mbit/s: the sum takes about as long as a backward pass, and about half of one
    (2, 400.0): "halving-doubling",
    (2, 1000.0): "halving-doubling",
    (4, 400.0): "halving-doubling",
}
ROUNDS, ITERATIONS = 7, 3
IMAGES = 32


def make_step(machine: Machine, kind: str, all_reduce: str) -> Callable[[int], None]:
    """Return a step of one worker a process: alone, or with its sum after or during backpropagation."""
    torch.manual_seed(0)
    model = build_model("resnet18", num_classes=10, in_channels=3, width=48).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    world_size = machine.processes.world_size
    group = None
    if kind == "no communication":
        group = [dist.new_group([rank]) for rank in range(world_size)][machine.processes.rank]
        world_size = 1
    step = Step(
        model,
        nn.CrossEntropyLoss(reduction="none"),
        optimizer,
        minibatch_size=IMAGES * world_size,
        worker_minibatch_size=IMAGES,
        aggregation=AggregationOptions(all_reduce=all_reduce, overlap=kind == "overlapped"),
        group=group,
    )
    images = torch.randn(IMAGES, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (IMAGES,))

    def take(iteration: int) -> None:
        step(((images, labels),), iteration=iteration)

    take.num_bytes = sum(p.nbytes for p in model.parameters())  # type: ignore[attr-defined]
    take.model, take.blocks = model, (images, labels)  # type: ignore[attr-defined]
    return take


def backward_seconds(take: Callable[[int], None]) -> float:
    """Return the seconds of a backward pass: what communication can hide behind."""
    model, (images, labels) = take.model, take.blocks  # type: ignore[attr-defined]
    times = []
    for _ in range(ROUNDS):
        loss = nn.functional.cross_entropy(model(images), labels)
        start = time.perf_counter()
        loss.backward()
        times.append(time.perf_counter() - start)
    return median(times)


def run_host(all_reduce: str) -> None:
    """Time the three kinds in turn, and print the medians on rank 0."""
    kinds = ("no communication", "sequential", "overlapped")
    with joined(timeout_seconds=300) as machine:
        steps = {kind: make_step(machine, kind, all_reduce) for kind in kinds}
        times = torch.zeros(ROUNDS, len(kinds))
        for number in range(-1, ROUNDS):  # the first round warms up
            for turn in range(len(kinds)):
                column = (turn + number) % len(kinds)
                dist.barrier()
                start = time.perf_counter()
                for iteration in range(ITERATIONS):
                    steps[kinds[column]](iteration)
                times[number, column] = (time.perf_counter() - start) / ITERATIONS
        backward = torch.tensor(backward_seconds(steps["no communication"]))
        dist.all_reduce(times, dist.ReduceOp.MAX)
        dist.all_reduce(backward, dist.ReduceOp.MAX)
        if machine.processes.rank == 0:
            seconds = dict(zip(kinds, times.median(0).values.tolist(), strict=True))
            num_bytes = steps["overlapped"].num_bytes  # type: ignore[attr-defined]
            print(json.dumps({"seconds": seconds, "backward": backward.item(), "bytes": num_bytes}))
        sys.stdout.flush()
        dist.barrier()
    os._exit(0)


def main() -> None:
    """Run every case, and write the card."""
    if len(sys.argv) > 1:
        run_host(sys.argv[1])
    if lack := missing():
        sys.exit(f"no emulated network here: {lack}; nothing was run")
    results, rows = [], []
    for (hosts, rate), all_reduce in CASES.items():
        with emulated_network(hosts, Link(rate, 1.0)) as names:
            output = run_group(names, [sys.executable, __file__, all_reduce], timeout_seconds=1800)
        result = json.loads(output) | {"hosts": hosts, "rate_mbit": rate, "all_reduce": all_reduce}
        alone, sequential, overlapped = result["seconds"].values()
        hideable = min(sequential - alone, result["backward"])
        result["hidden"] = (sequential - overlapped) / hideable
        results.append(result)
        cells = [
            f"{1e3 * value:.0f}" for value in (alone, sequential, overlapped, sequential - alone, result["backward"])
        ]
        rows.append(
            f"| {hosts} | {rate:g} | {result['bytes'] / 1e6:.1f} | {' | '.join(cells)} | **{result['hidden']:.0%}** |"
        )
        print(rows[-1], flush=True)
    header = (
        "A ResNet-18 (width 48, 64x64 pixels, 32 images a host) over an emulated network, 1 ms one way; all hosts on one "
        f"machine of two cores. Milliseconds a step, medians of {ROUNDS} rounds of {ITERATIONS} steps, the three kinds in "
        "turn. What can be hidden is the time of the sum, or that of the backward pass if it is shorter.\n\n"
        "| hosts | Mbit/s | gradients, MB | no communication | sequential | overlapped | sum | backward | hidden |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    )
    write_card("network_overlap", "Overlap of communication and backpropagation", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
