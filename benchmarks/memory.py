"""How many gradients a step holds at a time, beside a plain accumulation loop: ResNet-50, and 300 M parameters.

Run from the repository's root: python benchmarks/memory.py. It takes up to 12 GB of memory.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from card import write_card

PROGRAM = Path(__file__).parent / "gpu" / "memory.py"
MODELS = {"resnet50": "ResNet-50 (images of 64 pixels)", "linear-300m": "18 linear layers of 4096"}
WORKERS = (1, 2, 8, 16)
COLUMNS = ("plain", "exact", "exact, in a group")
EXPLANATION = """\
The most bytes of tensors at a time during two backward passes of a minibatch, above those of the model. torch's
profiler counts them. The unit is the bytes of a gradient. Each worker has 2 samples. The plain loop accumulates. A
step alone holds the partial sums of the tree and the worker's own gradient: log2(k) + 1, but 2 for one worker. In a
group of processes there is one more: DistributedDataParallel keeps its buckets all the time. What is beyond whole
numbers are activations.
"""


def figures(model: str, worker_count: int) -> dict[str, Any]:
    """Measure one case in a process of its own."""
    command = [sys.executable, PROGRAM, "cpu", model, str(worker_count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"model": model, "workers": worker_count, **found}


def main() -> None:
    """Measure every case and write the card."""
    results = [figures(model, worker_count) for model in MODELS for worker_count in WORKERS]
    rows = [
        f"| {MODELS[r['model']]} | {r['MB of a gradient']:,.0f} MB | {r['workers']} | "
        + " | ".join(f"{r[column]:.2f}" for column in COLUMNS)
        + " |"
        for r in results
    ]
    header = "| model | gradient | workers | plain loop | step | step in a group |\n|---|---|---|---|---|---|\n"
    write_card("memory", "Memory of a step, in gradients", results, f"{EXPLANATION}\n{header}" + "\n".join(rows))


if __name__ == "__main__":
    main()
