"""A signal during the import of torch stops a run as later ones do, and it goes on with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bigbatch.processes.outcome import ExitCode

SOURCE = str(Path(__file__).parents[1] / "src")
# Signals its own process when it begins to import torch, if it is the one that is meant.
HOOK = """
import os, signal, sys
class Hook:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" and os.environ.get("RANK", "launcher") == os.environ.get("SIGNALLED"):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.Signals[os.environ["SIGNAL"]])
sys.meta_path.insert(0, Hook())
"""
TRAIN = ("train", "digits", "--minibatch-size", "256", "--epochs", "1", "--output")
ALONE = (sys.executable, "-m", "bigbatch")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigbatch")


@pytest.fixture
def run(tmp_path):
    """Return a function that runs a command, one of whose processes gets a signal while it imports torch."""
    (tmp_path / "sitecustomize.py").write_text(HOOK)

    def run(*command, signalled="", name="SIGUSR1"):
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": f"{tmp_path}:{SOURCE}", "SIGNALLED": signalled, "SIGNAL": name},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def summary_of(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_process_alone_stops_after_one_iteration_and_resumes_to_the_same_bits(run, tmp_path, name):
    options = ("--processes", "1")
    stopped = run(*ALONE, *TRAIN, "run", *options, signalled="launcher", name=name)
    assert stopped.returncode == ExitCode.STOPPED, stopped.stderr
    assert f"bigbatch: {name}: stops as soon as it can" in stopped.stderr
    summary = summary_of(tmp_path / "run")
    assert (summary["status"], summary["stopped_by"], summary["iterations"]) == ("stopped", name, 1)
    assert run(*ALONE, *TRAIN, "run", *options, "--resume").returncode == 0
    assert run(*ALONE, *TRAIN, "whole", *options).returncode == 0
    resumed, whole = summary_of(tmp_path / "run"), summary_of(tmp_path / "whole")
    assert resumed["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_of_our_launcher_stops_all(run, tmp_path, rank):
    stopped = run(*ALONE, *TRAIN, "run", "--processes", "2", signalled=rank)
    assert stopped.returncode == ExitCode.STOPPED, stopped.stderr
    assert summary_of(tmp_path / "run")["iterations"] == 1


def test_a_process_of_torchrun_stops_all(run, tmp_path):
    run(*TORCHRUN, *TRAIN, "run", signalled="1")
    summary = summary_of(tmp_path / "run")
    assert (summary["status"], summary["iterations"]) == ("stopped", 1)


def test_our_launcher_starts_nothing(run, tmp_path):
    stopped = run(*ALONE, *TRAIN, "run", "--processes", "2", signalled="launcher")
    assert stopped.returncode == ExitCode.STOPPED, stopped.stderr
    assert not (tmp_path / "run").exists()
    assert run(*ALONE, *TRAIN, "run", "--processes", "2", "--resume").returncode == 0


def test_other_commands_end_at_once(run):
    ended = run(*ALONE, "bench", "all-reduce", signalled="launcher", name="SIGTERM")
    assert ended.returncode < 0
