"""The weights are the same after any kill: the short version of `benchmarks/faults/run`."""

import os

import pytest
from disagreements import flip_a_bit, nan_on_one_worker, refuse_mismatches
from disks import full_disk, read_only_folder
from elastic import kill_under_torchrun
from kills import kill_launcher, kill_ranks
from slurm import is_there, survive
from stops import listeners_of_one_machine, resume_with_other_processes, stop_by_signal


@pytest.mark.parametrize(
    "trial",
    [
        lambda: kill_ranks(1, kills_a_run=1, epochs=40, limit=60),  # other tests run beside it
        kill_launcher,
        kill_under_torchrun,
        lambda: stop_by_signal(1, first=3),
        lambda: resume_with_other_processes(2),
        listeners_of_one_machine,
        flip_a_bit,
        lambda: nan_on_one_worker(layouts=(1, 2)),
        lambda: refuse_mismatches(processes=2, kinds=("checkpoint", "our code"), limit=30),
    ],
    ids=["kill -9", "launcher", "torchrun", "signals", "resume", "listeners", "bit", "nan", "mismatch"],
)
def test_a_promise_is_kept(trial):
    row = trial()
    assert row.is_kept, row


@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk of its own needs root, which CI is")
@pytest.mark.parametrize("trial", [full_disk, read_only_folder])
def test_a_disk_that_takes_no_more_ends_nothing_at_once_and_loses_nothing(trial):
    row = trial()
    assert row.is_kept, row


@pytest.mark.skipif(not is_there(), reason="needs root, and slurm-wlm and munge of Debian, which CI has")
def test_a_job_of_a_real_slurm_goes_on_after_signals_also_while_it_starts():
    row = survive(("signal", "early signal"))
    assert row.is_kept, row
