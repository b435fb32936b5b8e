"""Start processes, and report once what went wrong in one of them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bigbatch.errors import InputError
from bigbatch.processes.device import default_process_count
from bigbatch.processes.place import Place, find_place
from user_models import FAULT

HERE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
FAILS = ("train", "digits", "--minibatch-size", 64, "--output", "run", "--set", "model.name=user_models:FailsOnRank")


def seconds_since_the_fault(folder):
    """Counted from the failure, as the time that processes take to start does not matter."""
    return time.time() - (folder / FAULT).stat().st_mtime


def test_a_failing_ranks_traceback_is_shown_once(bigbatch):
    options = ("--set", "model.arguments={rank = 2, how = 'raise'}", "--processes", 3)
    done = bigbatch(*FAILS, *options, **HERE)
    assert done.returncode == 1
    assert done.stderr.count("the model is broken on purpose") == 1
    assert done.stderr.count("Traceback") == 1
    assert "user_models.py" in done.stderr
    assert "error_file" not in done.stderr
    assert "stopped answering" not in done.stderr


def test_a_killed_rank_is_named(bigbatch):
    done = bigbatch(*FAILS, "--set", "model.arguments={rank = 1, how = 'kill'}", "--processes", 2, **HERE)
    assert done.returncode == 1
    assert "rank 1 was killed by SIGKILL" in done.stderr


@pytest.mark.parametrize("after", [0, 1, 20])
def test_a_silent_rank_ends_all_within_the_timeout_and_is_named(bigbatch, tmp_path, after):
    """In its first pass, while torch arranges its buckets, or in the middle of the training."""
    arguments = f"model.arguments={{rank = 1, how = 'hang', after = {after}}}"
    done = bigbatch(*FAILS, "--set", arguments, "--processes", 3, "--timeout", 10, **HERE)
    assert seconds_since_the_fault(tmp_path) < 30
    assert done.returncode == 1
    assert "bigbatch: rank 1 did not answer within the timeout" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_a_rank_that_fails_in_the_middle_ends_all_at_once(bigbatch, tmp_path, how):
    arguments = f"model.arguments={{rank = 1, how = '{how}', after = 20}}"
    done = bigbatch(*FAILS, "--set", arguments, "--processes", 3, **HERE)
    assert seconds_since_the_fault(tmp_path) < 30  # the timeout is 120
    assert done.returncode == 1
    assert {"kill": "rank 1 was killed by SIGKILL", "raise": "the model is broken on purpose"}[how] in done.stderr
    assert "has ended" not in done.stderr


def test_torchruns_processes_are_recognised(tmp_path):
    """`torchrun -m bigbatch train` gives the bits of one process; bad input is one line, once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bigbatch"]
    arguments = ["train", "digits", "--minibatch-size", "256", "--epochs", "1"]
    subprocess.run([*command, *arguments, "--output", "p2"], cwd=tmp_path, check=True, capture_output=True)
    alone = [sys.executable, "-m", "bigbatch", *arguments, "--processes", "1", "--output", "p1"]
    subprocess.run(alone, cwd=tmp_path, check=True, capture_output=True)
    one, two = (json.loads((tmp_path / p / "run.json").read_text()) for p in ("p1", "p2"))
    assert one["weights_sha256"] == two["weights_sha256"]
    assert two["processes"] == 2
    refused = subprocess.run(
        [*command, *arguments, "--output", "p2"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert refused.stderr.count("bigbatch: error: p2 already holds this run") == 1


def test_a_growing_minibatch_trains_on_as_many_processes_as_its_first_size_has_workers(bigbatch):
    growing = ("--minibatch-size", 256, "--set", "growth.kind=schedule")
    short = ("--stop-after-iteration", 2, "--output", "run")
    refused = bigbatch("train", "digits", *growing, "--processes", 2)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "2 processes are more than the 1 workers of a minibatch" in refused.stderr
    done = bigbatch("train", "digits", *growing, *short)
    assert done.returncode == 0, done.stderr
    assert "1 process," in done.stdout
    verified = bigbatch("verify", "digits", *growing, "--iterations", 1)
    assert verified.returncode == 0, verified.stdout


@pytest.mark.parametrize("arguments", [("plan", "digits"), ("plan", "digit"), ("--help",)])
@pytest.mark.parametrize("starter", [{}, {"RANK": "1", "WORLD_SIZE": "2"}, {"SLURM_PROCID": "0"}])
def test_one_process_of_several_leaves_without_tearing_the_interpreter_down(tmp_path, bigbatch, starter, arguments):
    """Started by any launcher: torch's threads can abort it then (pytorch#190489)."""
    (tmp_path / "sitecustomize.py").write_text("import atexit\natexit.register(print, 'torn down')\n")
    done = bigbatch(*arguments, PYTHONPATH=str(tmp_path), **starter)
    assert done.returncode == (2 if "digit" in arguments else 0), done.stderr
    assert ("torn down" in done.stdout) == (not starter)
    assert done.stderr if "digit" in arguments else done.stdout.replace("torn down", "").strip(), "flushed"


def test_a_place_is_found_in_the_environment():
    batch = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "4"}
    step = batch | {"SLURM_STEP_ID": "0"}
    meeting = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    assert find_place(step | meeting) == Place(5, 8, 1, 4)
    assert find_place(batch | meeting) is None, "a batch script is one process, with these variables too"
    assert find_place(step | meeting | {"SLURM_NTASKS": "1"}) is None
    with pytest.raises(InputError, match="export MASTER_ADDR"):
        find_place(step)
    assert find_place({"RANK": "1", "WORLD_SIZE": "2"}) == Place(1, 2, 0, 1), "one process a machine"
    del step["SLURM_NTASKS_PER_NODE"]
    assert find_place(step | meeting) == Place(5, 8, 1, 1), "unknown: then not one machine's loopback interface"
    assert find_place(step | meeting | {"SLURM_NNODES": "1"}) == Place(5, 8, 1, 8)
    with pytest.raises(InputError, match="must be whole numbers"):
        find_place({"RANK": "x", "WORLD_SIZE": "2"})


def test_as_many_processes_as_cores_but_no_more_than_workers(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _pid: range(6))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [default_process_count(k) for k in (1, 4, 6, 100)] == [1, 4, 6, 6]
