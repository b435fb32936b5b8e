"""The bits of portable trainings: pinned, so that every machine which runs this must reach them, whatever its CPU."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from bigbatch.processes.outcome import ExitCode
from bigbatch.verification.emulation import AMD, EMULATOR, INTEL, has_emulator, other_cpu, python_on
from test_language_models import RECIPE, TEXT

HERE = str(Path(__file__).parent)
SOURCE = str(Path(__file__).parents[1] / "src")
TOO_OLD = "IvyBridge"  # it has no AVX2
PATIENCE_SECONDS = 600
TRAININGS = {
    "SGD, ResNet-8": ("digits", "--minibatch-size", "256", "--epochs", "1"),
    "LARS, ResNet-20": (
        *("digits", "--minibatch-size", "96", "--stop-after-iteration", "3", "--set", "model.name=cifar-resnet20"),
        *("--set", "optimizer.name=lars", "--set", "reference.learning_rate=1"),
    ),
    "AdamW, transformer": ("recipe.toml",),
    "short": ("digits", "--minibatch-size", "32", "--stop-after-iteration", "2", "--set", "model.width=4"),
}
PINNED = {
    "SGD, ResNet-8": "d52df3c72a7ed404d14f7da7876310d2ae3dec734eb9748cdead490b6ce655fb",
    "LARS, ResNet-20": "3849efd68c2402d9565928d5f8095cd7983d5c5de3d6706079fa6c51559808a4",
    "AdamW, transformer": "9225bcbc13d4537c69198d210ae197b298ea2a160a1ff55676cee70153cb25e6",
    "short": "2c0a74d6b9c7aa91db91d9ae140985d0372d8d6776c75f06d33d1e96e6e299ee",
}
# Seen with torch 2.13.0 and 2.14.1. Nobody promises it of the next.
of_this_torch = PINNED if torch.__version__.startswith(("2.13.", "2.14.")) else {}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture(autouse=True)
def started():
    """Return the list of what was started. It is ended with the test."""
    running = []
    yield running
    for process in running:
        process.kill()
        process.communicate()


def start(started, folder, *words, program=(sys.executable,), **more):
    process = subprocess.Popen(
        [*program, "-m", "bigbatch", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, HERE]), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def train(started, folder, training, output, *, program=(sys.executable,), processes=1, numerics="portable"):
    options = ("--processes", str(processes), "--output", output, "--set", f"numerics={numerics}")
    return start(started, folder, "train", *TRAININGS[training], *options, program=program)


def train_together(started, folder, training, output, programs):
    """Start a group of processes, each of which another program runs."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for rank, program in enumerate(programs):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        more = {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        options = ("--output", output, "--set", "numerics=portable", "--timeout", str(PATIENCE_SECONDS))
        yield start(started, folder, "train", *TRAININGS[training], *options, program=program, **more)


def finished(process):
    """Return the exit code of a process, its output and its errors."""
    said, error = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said, error


def sha256_of(run):
    return json.loads((run / "run.json").read_text())["weights_sha256"]


@pytest.mark.skipif(not of_this_torch, reason="no hash is pinned for this version of torch")
@pytest.mark.parametrize("training", list(TRAININGS)[:-1])
def test_every_machine_reaches_the_pinned_hash(started, project, training):
    for processes in (1, 3):
        code, _, error = finished(train(started, project, training, str(processes), processes=processes))
        assert code == 0, error
        assert sha256_of(project / str(processes)) == of_this_torch[training]


@pytest.mark.skipif(not has_emulator(), reason=f"not run: no {EMULATOR} (Debian: qemu-user) to emulate processors with")
def test_other_processors_have_the_same_bits_and_an_old_one_is_refused(started, project):
    """An emulated Intel and an emulated AMD train together, and this machine repeats what they did."""
    run = partial(train, started, project, "short")
    other = other_cpu()
    programs = [python_on(cpu) for cpu in (INTEL, AMD)]
    runs = dict(enumerate(train_together(started, project, "short", "together", programs)))
    runs["native"] = run("native", program=python_on(other), numerics="native")
    refused = run("old", program=python_on(TOO_OLD))
    for name, process in runs.items():
        code, _, error = finished(process)
        assert code == 0, (name, error)
    assert of_this_torch.get("short") in {None, sha256_of(project / "together")}
    code, _, error = finished(refused)
    assert code == ExitCode.BAD_INPUT
    assert "needs an x86-64 processor with AVX2, which this is not" in error

    code, said, error = finished(start(started, project, "reproduce", "together", "--processes", "1"))
    assert code == 0, error
    assert said.index("it can be the same here: portable numerics") < said.index("\nidentical: weights_sha256")
    code, said, _ = finished(start(started, project, "reproduce", "native"))
    assert code == 1  # the control: native numerics have other bits there
    assert said.index("it cannot be the same here: it was made on another kind of machine") < said.index(
        "the runs part"
    )
    assert "\n  arithmetic: " in said
