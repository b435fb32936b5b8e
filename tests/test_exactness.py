"""The command gives the same hash for any number of processes."""

import json
import os
from pathlib import Path

import pytest

from bigbatch.reduction.options import EXACT_ALGORITHMS

PLAIN = ("--epochs", 2, "--seed", 1, "--minibatch-size", 256)
SHORT = ("--epochs", 1, "--minibatch-size", 256)
RANDOM = (*PLAIN, "--set", "model.dropout=0.2", "--set", 'data.augmentation=["crop", "flip"]')
MEASURED = (*RANDOM, "--set", "scaling.rule=adascale")


def train(bigbatch, tmp_path, name, *arguments):
    done = bigbatch("train", "digits", "--output", name, *arguments)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    summary = json.loads((tmp_path / name / "run.json").read_text())
    assert f"weights_sha256    {summary['weights_sha256']}" in done.stdout
    return summary


def sha256(bigbatch, tmp_path: Path, name, *arguments):
    return train(bigbatch, tmp_path, name, *arguments)["weights_sha256"]


def test_any_number_of_processes_gives_the_same_bits(bigbatch, tmp_path):
    """From one process to one a worker."""
    small = ("--epochs", 1, "--seed", 1, "--minibatch-size", 128)
    runs = [train(bigbatch, tmp_path, f"p{p}", *small, "--processes", p) for p in (1, 2, 3, 8)]
    assert [run["processes"] for run in runs] == [1, 2, 3, 8]
    assert len({run["weights_sha256"] for run in runs}) == 1
    assert len({run["validation_error"] for run in runs}) == 1
    losses = {
        tuple(
            line for line in (tmp_path / f"p{p}" / "metrics.jsonl").read_text().splitlines() if "learning_rate" in line
        )
        for p in (1, 3, 8)
    }
    assert len(losses) == 1, "every iteration's loss has the same bits too"


def test_every_exact_all_reduce_gives_the_same_bits(bigbatch, tmp_path):
    few = (*SHORT, "--stop-after-iteration", 4)
    alone = sha256(bigbatch, tmp_path, "alone", *few, "--processes", 1)
    for all_reduce in EXACT_ALGORITHMS:
        run = train(bigbatch, tmp_path, all_reduce, *few, "--processes", 3, "--all-reduce", all_reduce)
        assert run["all_reduce"] == {"algorithm": all_reduce}
        assert run["weights_sha256"] == alone


def test_the_size_of_the_buckets_and_overlap_do_not_matter(bigbatch, tmp_path):
    options = (("--bucket-mb", 0.0625), ("--bucket-mb", 25), ("--no-overlap",))
    runs = [train(bigbatch, tmp_path, str(i), *SHORT, "--processes", 2, *o) for i, o in enumerate(options)]
    assert {run["weights_sha256"] for run in runs} == {sha256(bigbatch, tmp_path, "1p", *SHORT, "--processes", 1)}
    chosen = runs[0]["all_reduce"]["chosen_by_bytes"]
    assert set(chosen) == {"4096", "65536", "1048576", "4194304"}


def test_with_dropout_and_augmentation_too_also_when_a_run_changes_its_processes(bigbatch, tmp_path):
    """Also with AdaScale, whose rate and length follow from the gradients."""
    hashes = {sha256(bigbatch, tmp_path, f"p{p}", *MEASURED, "--processes", p) for p in (1, 3)}
    stopped = train(bigbatch, tmp_path, "changes", *MEASURED, "--processes", 2, "--stop-after-epoch", 1)
    assert stopped["status"] == "stopped"
    resumed = train(bigbatch, tmp_path, "changes", *MEASURED, "--processes", 4, "--resume")
    assert [attempt["processes"] for attempt in resumed["attempts"]] == [2, 4]
    assert hashes == {resumed["weights_sha256"]}


def test_a_growing_minibatch_has_the_same_bits_too(bigbatch, tmp_path):
    """Also if the size changes within a run of several processes, and the number of processes after it."""
    grows = (*PLAIN, "--set", "growth.kind=schedule", "--set", "growth.start=64", "--set", "schedule.milestones=[1.0]")
    grows = (*grows, "--set", "warmup.epochs=0", "--set", "average.decay=0.9")
    runs = [train(bigbatch, tmp_path, "alone", *grows, "--processes", 1)]
    train(bigbatch, tmp_path, "changes", *grows, "--processes", 2, "--stop-after-iteration", 22)
    runs.append(train(bigbatch, tmp_path, "changes", *grows, "--processes", 3, "--resume"))
    assert len({(run["weights_sha256"], run["average_sha256"]) for run in runs}) == 1
    assert runs[0]["iterations"] == 20 + 5


def test_the_control_the_backends_reduction_depends_on_the_processes(bigbatch, tmp_path):
    native = [sha256(bigbatch, tmp_path, f"n{p}", *SHORT, "--processes", p, "--reduction", "native") for p in (1, 4)]
    assert native[0] != native[1]


@pytest.mark.parametrize(
    "optimizer", [(), ("--set", "optimizer.name=user_models:absorbing", "--set", "optimizer.momentum_correction=true")]
)
def test_a_users_model_data_and_optimizer(bigbatch, tmp_path, optimizer):
    own = (
        "--set",
        "model.name=user_models:net",
        "--set",
        "data.name=user_models:blobs",
        "--set",
        "model.arguments.hidden=8",
    )
    sizes = ("--minibatch-size", 48, "--epochs", 2)
    path = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
    for p in (1, 3):
        done = bigbatch("train", "digits", *own, *optimizer, *sizes, "--processes", p, "--output", p, **path)
        assert done.returncode == 0, done.stderr
    one, three = (json.loads((tmp_path / p / "run.json").read_text())["weights_sha256"] for p in "13")
    assert one == three
