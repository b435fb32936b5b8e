"""What a GPU must show: the same bits on a rerun, after a resumption and through NCCL, and ResNet-50 images/s.

Run from the repository's root on a machine with a GPU: python benchmarks/gpu.py.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from bigbatch.benchmark.step import bench_step
from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.models import build_model
from bigbatch.processes.join import Machine, joined
from bigbatch.recipe import Model, Scaling
from bigbatch.recipe.presets import digits, imagenet_resnet50
from bigbatch.reduction.communicator import Communicator
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.step.step import Step
from bigbatch.training.trainer import train
from card import write_card


def hashes(machine: Machine) -> dict[str, str]:
    """Train the digits on a ResNet-18 in bfloat16 with AdaScale: twice, and in two parts with a cut within an epoch."""
    model = Model("resnet18", width=16, dropout=0.1)
    recipe = replace(digits(), minibatch_size=256, epochs=4, model=model, precision="bfloat16")
    recipe = replace(recipe, scaling=Scaling("adascale"))  # whose rate and length follow from the gradient's noise
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: RunFolder(Path(folder) / name) for name in ("first", "again", "in two parts")}
        train(recipe, runs["in two parts"], machine, stop_after_iteration=7)
        return {name: str(train(recipe, run, machine).weights_sha256) for name, run in runs.items()}


def collective_hashes(device: torch.device) -> dict[str, str]:
    """Take three steps of 8 workers without a group, and through the collectives and the hook over a group of one.

    What is hashed are the weights, and the workers' norms that the gradient's noise is measured from.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
    found = {}
    for name in ("alone", "direct", "native", "direct, no overlap"):
        torch.manual_seed(0)
        model = build_model("resnet18", num_classes=10, in_channels=3, width=16).to(device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        options = AggregationOptions(overlap="no overlap" not in name, bucket_mb=0.25)
        sizes = {"minibatch_size": 64, "worker_minibatch_size": 8}
        step = Step(model, torch.nn.CrossEntropyLoss(reduction="none"), optimizer, aggregation=options, **sizes)
        if name != "alone":
            step.communicator = Communicator(step.processes, step.worker_count, device, name.split(",")[0])
        generator = torch.Generator().manual_seed(1)
        for iteration in range(3):
            images = torch.randn(64, 3, 32, 32, generator=generator).to(device).split(8)
            labels = torch.randint(10, (64,), generator=generator).to(device).split(8)
            step.backward(zip(images, labels, strict=True), iteration=iteration, measures_noise=True)
            optimizer.step()
        step.close()
        assert step.aggregation is not None
        assert step.aggregation.norms is not None
        found[f"8 workers, {name}"] = weights_sha256({**model.state_dict(), "norms": step.aggregation.norms})
    torch.distributed.destroy_process_group()
    return found


def main() -> None:
    """Run all of it on one GPU, and write the card."""
    if not torch.cuda.is_available():
        sys.exit("this machine has no GPU: nothing was run")
    with joined() as machine:
        found = hashes(machine)
        collective = collective_hashes(machine.device)
        recipe = replace(imagenet_resnet50(), precision="bfloat16")
        speeds = [
            bench_step(
                replace(recipe, worker_minibatch_size=n),
                machine,
                rounds=9,
                seconds_per_turn=4.0,
                aggregation=AggregationOptions(),
            )
            for n in (32, 128)
        ]
    rows = [f"| weights of a run, {name} | {digest[:16]} |" for name, digest in found.items()]
    rows += [f"| {name} | {digest[:16]} |" for name, digest in collective.items()]
    rows += [
        f"| ResNet-50, bf16, minibatch 256 as workers of {s['worker_minibatch_size']} | "
        f"{s['images_per_second']:,.0f} images/s, {s['ratio']:.3f} of the plain loop "
        f"({s['ratio_least']:.3f} to {s['ratio_largest']:.3f}) |"
        for s in speeds
    ]
    same = len(set(found.values())) == 1 == len(set(collective.values()))
    table = "| | |\n|---|---|\n" + "\n".join(rows) + f"\n\nSame bits: {'yes' if same else 'NO'}."
    write_card("gpu", "One GPU", {"weights_sha256": found | collective, "same_bits": same, "speed": speeds}, table)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
