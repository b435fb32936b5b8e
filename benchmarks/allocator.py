"""What it gains on a CPU that a process keeps the memory that it frees: our step with it, and as glibc has it.

Run from the repository's root, on a quiet machine: python benchmarks/allocator.py. Each turn is a process of its own.
"""

import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import torch
from torch import nn

from bigbatch import Step, joined
from bigbatch.models import build_model
from bigbatch.processes import numerics
from card import write_card

CASES = {  # model: samples of a worker, workers, pixels, steps of a turn
    "cifar-resnet8": (32, 8, 32, 20),
    "cifar-resnet20": (32, 8, 32, 8),
    "resnet18": (32, 2, 128, 4),
    "resnet50": (16, 2, 224, 3),
}
ROUNDS = 5
KEPT, GIVEN_BACK = "kept", "given back"


def measure(name: str, kind: str) -> dict[str, float]:
    """Return the seconds and page faults of a step, and the most memory that the process has had, in bytes."""
    if kind == GIVEN_BACK:
        numerics.keep_freed_memory = lambda: None  # type: ignore[attr-defined]
    n, workers, pixels, steps = CASES[name]
    with joined():
        model = build_model(name, num_classes=10, in_channels=3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        loss = nn.CrossEntropyLoss(reduction="none")
        step = Step(model, loss, optimizer, minibatch_size=n * workers, worker_minibatch_size=n)
        minibatch = [(torch.randn(n, 3, pixels, pixels), torch.randint(10, (n,))) for _ in range(workers)]
        step(minibatch)
        before, seconds = resource.getrusage(resource.RUSAGE_SELF), []
        for _ in range(steps):
            start = time.perf_counter()
            step(minibatch)
            seconds.append(time.perf_counter() - start)
        after = resource.getrusage(resource.RUSAGE_SELF)
    faults = (after.ru_minflt - before.ru_minflt) / steps
    return {"seconds": median(seconds), "faults": faults, "bytes": after.ru_maxrss * 1024}


def turn(name: str, kind: str) -> dict[str, float]:
    """Measure in a new process."""
    done = subprocess.run([sys.executable, __file__, name, kind], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure each case in turn, and write the card."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
        return
    rows, results = [], {}
    for name, (n, workers, pixels, _) in CASES.items():
        rounds: list[dict[str, dict[str, float]]] = []
        for number in range(ROUNDS):
            kinds = [KEPT, GIVEN_BACK] if number % 2 else [GIVEN_BACK, KEPT]
            rounds.append({kind: turn(name, kind) for kind in kinds})
        results[name] = rounds
        ratios = sorted(one[GIVEN_BACK]["seconds"] / one[KEPT]["seconds"] for one in rounds)

        def middle(kind: str, what: str, rounds: Any = rounds) -> float:  # noqa: ANN401 - see above
            return float(median(one[kind][what] for one in rounds))

        cells = [f"{name}, {workers} workers of {n}, {pixels} pixels"]
        for what, unit, form in (("seconds", 1e-3, ".0f"), ("faults", 1, ",.0f"), ("bytes", 2**20, ",.0f")):
            cells += [f"{middle(kind, what) / unit:{form}}" for kind in (GIVEN_BACK, KEPT)]
        rows.append(f"| {' | '.join(cells)} | **{median(ratios):.2f}** ({ratios[0]:.2f} to {ratios[-1]:.2f}) |")
    header = (
        f"A step with one process and one thread, medians over {ROUNDS} turns of each kind, in pairs. 'Back': freed "
        "memory goes back to the system as glibc has it; 'kept': as within `joined()`. The ratio is that of the times "
        "of each pair.\n\n"
        "| model | ms, back | ms, kept | page faults, back | kept | most memory in MiB, back | kept | ratio |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    write_card("allocator", "Memory that a process keeps", results, header + "\n".join(rows))


if __name__ == "__main__":
    main()
