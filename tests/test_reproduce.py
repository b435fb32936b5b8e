"""Reproduce a run: it is identical, or the first difference and its reason are named."""

import json
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from bigbatch.cli import main
from bigbatch.cli.commands.reproduce import MACHINE_OPTIONS, free_folder, reproduce_command, training_arguments
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.metrics import read_line
from bigbatch.runs.record import read_record

SMALL = ("--minibatch-size", 256, "--epochs", 1, "--set", "model.width=4")


def test_a_run_of_two_processes_is_identical_on_one_and_a_changed_field_is_named(bigbatch, tmp_path):
    train = ("train", "digits", *SMALL, "--processes", 2, "--all-reduce", "direct", "--output", "run")
    assert bigbatch(*train).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    done = bigbatch("reproduce", "run", "--processes", 1)
    assert done.returncode == 0, done.stderr
    assert "\n  processes   2 -> 1\n" in done.stdout
    weights = json.loads((tmp_path / "run" / "run.json").read_text())["weights_sha256"]
    assert f"\nidentical: weights_sha256 {weights[:12]}, 5 iterations and 1 epoch line by line\n" in done.stdout
    assert json.loads((tmp_path / "run-reproduction" / "run.json").read_text())["weights_sha256"] == weights

    done = bigbatch("reproduce", "run", "--processes", 1, "--set", "warmup.epochs=2")
    assert done.returncode == 1
    assert "\nthe runs part at iteration 1 (counted from 0): learning_rate " in done.stdout
    assert "\n  warmup.epochs: 3.0 -> 2.0\n" in done.stdout.partition("can explain it")[2]
    assert (tmp_path / "run-reproduction-2").is_dir()
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.fixture
def reproduce(monkeypatch, tmp_path):
    """Return a function that reproduces tmp_path/run with a training that only copies it, changed."""
    monkeypatch.chdir(tmp_path)

    def reproduced(exit_code=None, **changes):
        def train(arguments):
            asked.extend(arguments)
            target = Path(next(a.partition("=")[2] for a in arguments if a.startswith("--output=")))
            shutil.copytree("run", target)
            RunFolder(target).write_summary(replace(RunFolder(target).read_summary(), **changes))
            return exit_code

        asked = []
        nothing = dict.fromkeys(MACHINE_OPTIONS)
        options = Namespace(folder=Path("run"), output=None, set=[], **nothing)
        return reproduce_command(options, train=train), asked

    return reproduced


def test_a_run_that_stopped_is_repeated_as_far_as_it_came(record_run, reproduce, capsys):
    run = record_run("run", status="stopped", iterations=2)
    lines = {"iteration": 0, "loss": 1.0}, {"iteration": 1, "loss": None, "skipped": True}
    run.append_metrics(*map(read_line, lines))
    exit_code, asked = reproduce()
    assert (exit_code, asked[-1]) == (0, "--stop-after-iteration=2")
    assert "identical: weights_sha256 abababababab, 2 iterations and 0 epochs" in capsys.readouterr().out
    exit_code, _ = reproduce(weights_sha256="cd" * 32)
    assert exit_code == 1
    assert "no recorded difference explains it" in capsys.readouterr().out


def test_a_run_that_was_interrupted_is_compared_by_its_lines(record_run, reproduce, capsys):
    run = record_run("run", status="running", iterations=None, weights_sha256=None)
    run.append_metrics(*map(read_line, [{"iteration": 0, "loss": 1.0}, {"iteration": 1, "loss": 0.5}]))
    exit_code, asked = reproduce(status="stopped", iterations=2, weights_sha256="cd" * 32)
    assert (exit_code, asked[-1]) == (0, "--stop-after-iteration=2")
    assert "identical: 2 iterations and 0 epochs line by line; no hash of weights" in capsys.readouterr().out


def test_a_reproduction_that_is_stopped_is_not_compared(record_run, reproduce, capsys):
    record_run("run")
    assert reproduce(exit_code=75)[0] == 75
    assert "identical" not in capsys.readouterr().out


def test_what_the_bits_depend_on_comes_from_the_run_unless_it_is_asked_for(record_run):
    run = read_record(record_run("run", threads_per_process=3, reduction="native").path)
    nothing = dict.fromkeys(MACHINE_OPTIONS)
    arguments = training_arguments(run, 3, Path("r.toml"), Path("new"), nothing)
    assert arguments == ["train", "r.toml", "--output=new", "--threads-per-process=3", "--reduction=native"]
    asked = {**nothing, "threads_per_process": 1, "reduction": "exact", "processes": 4}
    arguments = training_arguments(run, 3, Path("r.toml"), Path("new"), asked)
    assert sorted(arguments[3:]) == ["--processes=4", "--reduction=exact", "--threads-per-process=1"]
    hostile = read_record(record_run("hostile", threads_per_process=10**9, reduction="--resume").path)
    assert len(training_arguments(hostile, 3, Path("r.toml"), Path("new"), nothing)) == 3


def test_the_folder_is_the_next_that_is_free(tmp_path, monkeypatch):
    assert free_folder(tmp_path / "run") == tmp_path / "run-reproduction"
    (tmp_path / "run-reproduction").mkdir()
    (tmp_path / "run-reproduction-2").touch()
    assert free_folder(tmp_path / "run") == tmp_path / "run-reproduction-3"
    monkeypatch.chdir(tmp_path)
    assert free_folder(Path()) == Path(f"{tmp_path}-reproduction")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none holds no run"),
        (["new"], "new is interrupted and has recorded no iteration"),
        (["odd"], "the recipe in odd/run.json: the key 'epochs' is missing"),
        (["ended", "--set", "epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (["ended", "--output", "odd"], "odd already holds this run"),
        (["ended", "--processes", "2"], "2 processes are more than the 1 workers of a minibatch"),
    ],
)
def test_what_cannot_be_reproduced_is_refused_by_one_line(
    record_run, arguments, message, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    record_run("new", status="running")
    record_run("odd", recipe={"name": "digits"})
    record_run("ended")
    assert main(["reproduce", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"new", "odd", "ended"}


def test_inside_torchrun_it_is_refused(record_run, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["reproduce", str(record_run("run").path)]) == 2
    assert "run it outside torchrun and srun" in capsys.readouterr().err
