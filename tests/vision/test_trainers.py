"""Programs of Lightning, Accelerate and transformers have one hash for p = 1, 2, 3 with exact steps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from small_trainings import QUIET, WARNINGS, Classifier, Module, gpt, hash_of, named, padded, samples, words
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from bigbatch.integrations.rates import ScaledUpdate
from prose import code_blocks

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainers"
pytestmark = pytest.mark.filterwarnings(*WARNINGS)


def lightning(folder, processes, *options):
    said = run(EXAMPLES / "lightning_digits.py", 0, "--devices", str(processes), "--output", folder, *options)
    state = torch.load(folder / "step=28.ckpt", weights_only=False)["state_dict"]
    return folder / "step=4.ckpt", (hash_of(state), said)


def accelerate(folder, processes, *options):
    said = run(EXAMPLES / "accelerate_digits.py", processes, "--output", folder / "at", *options)
    return folder / "at-4.pt", (hash_of(torch.load(folder / "at-28.pt")["model"]), said)


def transformers(folder, processes, *options):
    said = run(EXAMPLES / "transformers_text.py", processes, "--output", folder, *options)
    return folder / "checkpoint-4", (hash_of(load_file(folder / "model.safetensors")), said)


def run(program, processes, *options):
    """Run an example, under torchrun where it does not start its processes itself; return its last line."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-W", "ignore", *torchrun, program, *options]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("train", [lightning, accelerate, transformers])
def test_a_program_of_theirs_has_one_hash_for_any_number_of_processes_and_goes_on_with_another(train, tmp_path):
    """So are the losses and metrics that it prints. No thread count is given: each sets its own."""
    folders = [tmp_path / name for name in ("one", "three", "again")]
    for folder in folders:
        folder.mkdir()
    _, one = train(folders[0], 1)
    within_an_epoch, three = train(folders[1], 3)
    _, again = train(folders[2], 2, "--checkpoint", within_an_epoch)
    assert one == three == again


def test_the_lines_that_are_added_to_a_program_are_at_most_three():
    """Accelerate's also loses its lines for the forward and backward pass."""
    for program in EXAMPLES.glob("*_*.py"):
        added = [line for line in program.read_text().splitlines() if line.endswith("# bigbatch")]
        assert 1 <= len(added) <= 3, program


def test_a_rate_is_put_back_after_the_update_whatever_happens():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.1))
    update = ScaledUpdate(optimizer)
    for _ in range(2):  # the first is never stepped
        update.scale(3.0)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.3)
    optimizer.step()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_the_snippets_of_the_page_train(tmp_path):
    """Of docs/trainers.md: one for each trainer. Lightning would start a second process by itself."""
    page = (EXAMPLES.parents[1] / "docs" / "trainers.md").read_text()
    of_lightning, of_accelerate, of_transformers = code_blocks(page, "python")
    alone = QUIET | {"devices": 1, "max_epochs": 1, "enable_checkpointing": False}
    names = {"Trainer": lambda **options: pl.Trainer(**options | alone)}
    run_block(of_lightning, names)
    names["trainer"].fit(Module(), DataLoader(samples(512), batch_size=8, shuffle=True))
    assert names["trainer"].global_step == 2

    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(samples(512), batch_size=64, shuffle=True, collate_fn=named)
    names = {"accelerator": Accelerator(cpu=True), "model": model, "optimizer": optimizer, "train_loader": loader}
    names["scheduler"] = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(loader))
    run_block(of_accelerate, names)
    names["step"].close()
    assert names["step"].iteration == 2
    assert names["scheduler"].get_last_lr() == pytest.approx([0.0])

    arguments = TrainingArguments(str(tmp_path), num_train_epochs=1, use_cpu=True, report_to=[], disable_tqdm=True)
    run_block(of_transformers, {"model": gpt(), "arguments": arguments, "dataset": words(512), "collator": padded})
    assert (tmp_path / "checkpoint-2").is_dir()


def run_block(block, names):
    exec(compile(block, "docs/trainers.md", "exec"), names)  # noqa: S102 - our own text
