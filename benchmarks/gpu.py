"""What a GPU must show: the same bits on a rerun and after a resumption, and ResNet-50 images/s beside a plain loop.

Run from the repository's root on a machine with a GPU: python benchmarks/gpu.py.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from bigbatch.benchmark.step import bench_step
from bigbatch.launch import Machine, joined
from bigbatch.presets import digits, imagenet_resnet50
from bigbatch.recipe import Model
from bigbatch.runs import RunFolder
from bigbatch.trainer import train
from card import write_card


def hashes(machine: Machine) -> dict[str, str]:
    """Train the digits on a ResNet-18 in bfloat16 for 4 epochs: twice, and in two parts."""
    model = Model("resnet18", width=16, dropout=0.1)
    recipe = replace(digits(), minibatch_size=256, epochs=4, model=model, precision="bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: RunFolder(Path(folder) / name) for name in ("first", "again", "in two parts")}
        train(recipe, runs["in two parts"], machine, stop_after_epoch=2)
        return {name: str(train(recipe, run, machine)["weights_sha256"]) for name, run in runs.items()}


def main() -> None:
    """Run all of it on one GPU, and write the card."""
    if not torch.cuda.is_available():
        sys.exit("this machine has no GPU: nothing was run")
    with joined() as machine:
        found = hashes(machine)
        recipe = replace(imagenet_resnet50(), precision="bfloat16")
        speeds = [
            bench_step(replace(recipe, worker_minibatch_size=n), machine, rounds=9, seconds_per_turn=4.0)
            for n in (32, 128)
        ]
    rows = [f"| weights of a run, {name} | {digest[:16]} |" for name, digest in found.items()]
    rows += [
        f"| ResNet-50, bf16, minibatch 256 as workers of {s['worker_minibatch_size']} | "
        f"{s['images_per_second']:,.0f} images/s, {s['ratio']:.3f} of the plain loop "
        f"({s['ratio_least']:.3f} to {s['ratio_largest']:.3f}) |"
        for s in speeds
    ]
    same = len(set(found.values())) == 1
    table = "| | |\n|---|---|\n" + "\n".join(rows) + f"\n\nSame bits: {'yes' if same else 'NO'}."
    write_card("gpu", "One GPU", {"weights_sha256": found, "same_bits": same, "speed": speeds}, table)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
