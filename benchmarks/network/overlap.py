"""How much of the communication hides behind backpropagation: no communication, sequential and overlapped, in turn.

Run from the repository's root, as root: python benchmarks/network/overlap.py. It starts itself on every host.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.distributed as dist
from emulation import Link, emulated_network, missing, run_group
from torch import nn

from bigbatch.models import build_model
from bigbatch.processes.join import Machine, joined
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step
from card import write_card

CASES = (  # model, hosts, Mbit/s, MiB of a bucket
    ("waiting", 2, 400.0, 1.0),
    ("waiting", 2, 400.0, 4.0),
    ("waiting", 4, 400.0, 1.0),
    ("waiting", 4, 400.0, 4.0),
    ("waiting", 8, 400.0, 4.0),
    ("resnet18", 2, 200.0, 4.0),
)
ROUNDS, ITERATIONS = 5, 2
KINDS = ("no communication", "sequential", "overlapped")
IMAGES, LAYERS, LAYER_SIZE, LAYER_SECONDS = 32, 24, 262_144, 0.01


class Wait(torch.autograd.Function):
    """A layer that takes its time without the processor, as one on an accelerator does: t forward, 2 t backward."""

    @staticmethod
    def forward(ctx, inputs, weight):  # noqa: ANN001, ANN205
        """Wait, and return the inputs."""
        time.sleep(LAYER_SECONDS)
        ctx.save_for_backward(weight)
        return inputs + 0

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        """Wait twice as long, and return some gradient."""
        time.sleep(2 * LAYER_SECONDS)
        return gradient, torch.ones_like(ctx.saved_tensors[0])


class Waiting(nn.Module):
    """A stack of layers of 1 MiB each that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(LAYER_SIZE)) for _ in range(LAYERS)])
        self.head = nn.Linear(4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        hidden = self.head(images[:, 0, 0, :4])
        for weight in self.weights:
            hidden = Wait.apply(hidden, weight)
        return hidden


class Timed:
    """A step of one worker a process: alone, or with its sum after or during backpropagation."""

    def __init__(self, machine: Machine, model: str, kind: str, bucket_mb: float) -> None:
        torch.manual_seed(0)
        self.model: nn.Module = Waiting()
        if model != "waiting":
            self.model = build_model(model, num_classes=10, in_channels=3, width=48)
            self.model.to(memory_format=torch.channels_last)
        world_size, group = machine.processes.world_size, None
        if kind == "no communication":
            group = [dist.new_group([rank]) for rank in range(world_size)][machine.processes.rank]
            world_size = 1
        self.step = Step(
            self.model,
            nn.CrossEntropyLoss(reduction="none"),
            torch.optim.SGD(self.model.parameters(), lr=1e-3),
            minibatch_size=IMAGES * world_size,
            worker_minibatch_size=IMAGES,
            aggregation=AggregationOptions(overlap=kind == "overlapped", bucket_mb=bucket_mb),
            group=group,
        )
        self.images = torch.randn(IMAGES, 3, 128, 128).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (IMAGES,))

    def seconds(self) -> float:
        """Return the seconds of a step."""
        dist.barrier()
        start = time.perf_counter()
        for iteration in range(ITERATIONS):
            self.step([(self.images, self.labels)], iteration=iteration)
        return (time.perf_counter() - start) / ITERATIONS

    def backward_seconds(self) -> float:
        """Return the seconds of a backward pass: what communication can hide behind."""
        times = []
        for _ in range(ROUNDS):
            loss = nn.functional.cross_entropy(self.model(self.images), self.labels)
            start = time.perf_counter()
            loss.backward()
            times.append(time.perf_counter() - start)
        return median(times)


def run_host(model: str, bucket_mb: float) -> None:
    """Time the three kinds in turn, and print the medians on rank 0."""
    with joined(timeout_seconds=300) as machine:
        steps = [Timed(machine, model, kind, bucket_mb) for kind in KINDS]
        times = torch.zeros(ROUNDS + 1, len(KINDS))
        for number in range(ROUNDS + 1):
            for turn in range(len(KINDS)):
                column = (turn + number) % len(KINDS)
                times[number, column] = steps[column].seconds()
        backward = torch.tensor(steps[0].backward_seconds())
        dist.all_reduce(times, dist.ReduceOp.MAX)
        dist.all_reduce(backward, dist.ReduceOp.MAX)
        if machine.processes.rank == 0:
            seconds = dict(zip(KINDS, times[1:].median(0).values.tolist(), strict=True))  # the first round warms up
            num_bytes = sum(parameter.nbytes for parameter in steps[0].model.parameters())
            print(json.dumps({"seconds": seconds, "backward": backward.item(), "bytes": num_bytes}), flush=True)
        dist.barrier()
    os._exit(0)


def main() -> None:
    """Run every case, and write the card."""
    if len(sys.argv) > 1:
        run_host(sys.argv[1], float(sys.argv[2]))
    if lack := missing():
        sys.exit(f"no emulated network here: {lack}; nothing was run")
    results, rows = [], []
    for model, hosts, rate, bucket_mb in CASES:
        with emulated_network(hosts, Link(rate, 1.0)) as names:
            output = run_group(names, [sys.executable, __file__, model, str(bucket_mb)], timeout_seconds=1800)
        result = json.loads(output) | {"model": model, "hosts": hosts, "rate_mbit": rate, "bucket_mb": bucket_mb}
        alone, sequential, overlapped = result["seconds"].values()
        hideable = min(sequential - alone, result["backward"])
        result["hidden"] = (sequential - overlapped) / hideable
        results.append(result)
        times = (alone, sequential, overlapped, sequential - alone, result["backward"])
        cells = [model, hosts, f"{rate:g}", f"{bucket_mb:g}", *(f"{1e3 * value:.0f}" for value in times)]
        rows.append(f"| {' | '.join(map(str, cells))} | **{result['hidden']:.0%}** |")
        print(rows[-1], flush=True)
    header = (
        "Each host has one worker of 32 images and 25 MB of gradients. The network is emulated, 1 ms one way; all "
        "hosts run on one machine of two cores. The layers of `waiting` take their time without the processor, as on "
        "an accelerator. `resnet18` (width 48, 128x128 pixels) computes on the cores that the network needs too. "
        f"Cells: milliseconds a step, medians of {ROUNDS} rounds of {ITERATIONS} steps, the three kinds in turn. What "
        "can be hidden is the time of the sum, or that of the backward pass if it is shorter.\n\n"
        "| model | hosts | Mbit/s | bucket, MiB | no communication | sequential | overlapped | sum | backward "
        "| hidden |\n"
        "|---|---|---|---|---|---|---|---|---|---|\n"
    )
    write_card("network_overlap", "Overlap of communication and backpropagation", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
