"""Observers get every line and never touch a training; hooks are called at every moment, and verified."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bigbatch.errors import InputError
from bigbatch.integrations.observer import new_lines
from bigbatch.integrations.trackers import numbers_of
from bigbatch.recipe import differences
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections.launch import Launch
from bigbatch.runs.folder import RunFolder
from bigbatch.training import observers
from bigbatch.verification.checks.hooks import check_hooks

PROGRAMS = Path(__file__).parent / "programs"
SHORT = ("train", "digits", "--epochs", "2", "--minibatch-size", "512", "--processes", "1")


@pytest.fixture
def train(tmp_path):
    """Return a function that trains the digits for two epochs of 2 updates, in a process of its own."""

    def train(*options, output="run", patience=None):
        wait = f"from bigbatch.training import observers as o; o.PATIENCE_SECONDS={patience}; " if patience else ""
        start = f"import sys; {wait}from bigbatch.cli import main; sys.exit(main(sys.argv[1:]))"
        words = [sys.executable, "-c", start, *SHORT, "--output", output, *options]
        done = subprocess.run(words, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
        return done, RunFolder(tmp_path / output)

    return train


def environment():
    paths = (str(PROGRAMS), os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def observed_by(*names):
    return "--set", f"launch.observers={json.dumps([f'watching:{name}' for name in names])}"


def test_an_observer_gets_every_line_and_those_that_fail_cost_nothing_but_a_line(train):
    done, folder = train(*observed_by("notes", "fails", "dies"), patience=300)
    assert done.returncode == 0, done.stderr
    assert (folder.path / "noted.jsonl").read_text() == (folder.path / "metrics.jsonl").read_text()
    warnings = [line for line in done.stdout.splitlines() if "observer" in line]
    assert len(warnings) == 2, done.stdout
    text = "\n".join(warnings)
    assert "watching:fails has failed, the training has not: ValueError: boom at 0" in text
    assert "watching:dies has failed, the training has not: exit code 9" in text
    assert not (folder.path / "observer-watching-notes.log").exists()


def test_an_observer_that_hangs_and_draws_random_numbers_changes_no_bit(train):
    done, folder = train(*observed_by("hangs"), patience=0.1)
    assert done.returncode == 0, done.stderr
    assert "watching:hangs is not finished; it goes on by itself" in done.stdout
    plain, alone = train(output="alone")
    assert plain.returncode == 0, plain.stderr
    assert folder.read_summary().weights_sha256 == alone.read_summary().weights_sha256


def test_an_observer_that_cannot_be_started_costs_a_line(tmp_path):
    """Its log cannot be opened; the same holds for a full disk, or a system that starts no more processes."""
    (tmp_path / "observer-watching-notes.log").mkdir()
    found = observers.Observers(RunFolder(tmp_path), ["watching:notes"])
    (line,) = found.warnings()
    assert line == "warning: the observer watching:notes could not be started (Is a directory); training goes on"
    assert list(found.warnings()) == list(found.close()) == []


def test_an_observer_whose_log_was_removed_costs_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    found = observers.Observers(RunFolder(tmp_path), ["watching:dies"])
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 0, "loss": 1.0}\n')
    assert list(found.warnings()) == []
    (tmp_path / "observer-watching-dies.log").unlink()
    monkeypatch.setattr(observers, "PATIENCE_SECONDS", 300.0)
    (line,) = found.close()
    assert "has failed, the training has not: exit code 9" in line


def test_run_json_is_written_before_the_training_waits_for_an_observer(train, tmp_path):
    """A scheduler may kill it while it waits."""
    done, _ = train(*observed_by("sees_the_end"), patience=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "seen.txt").read_text() == "finished"


def test_an_observer_of_a_resumed_run_gets_the_new_lines_only(train):
    done, folder = train(*observed_by("notes"), "--stop-after-epoch", "1", patience=300)
    assert done.returncode == 0, done.stderr
    first = (folder.path / "noted.jsonl").read_text()
    done, _ = train(*observed_by("notes"), "--resume", patience=300)
    assert done.returncode == 0, done.stderr
    assert (folder.path / "noted.jsonl").read_text() == (folder.path / "metrics.jsonl").read_text()
    assert [json.loads(line)["iteration"] for line in first.splitlines()] == [0, 1, 2]
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    found = [numbers_of(line) for line in lines]
    assert [iteration for _, iteration in found] == [1, 2, 2, 3, 4, 4]
    assert found[0][0]["train/loss"] == lines[0]["loss"]
    assert found[2][0]["validation/top-1-error"] == lines[2]["validation"]["top-1-error"]
    assert numbers_of({"until_iteration": 100, "compute_seconds": [1.0]}) == ({}, 1)


def test_an_observer_ends_after_a_training_that_was_killed(tmp_path):
    """It reads what is there, and then sees the end of its input."""
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 0, "loss": 1.0}\n{"iteration": 1, "lo')
    words = [sys.executable, "-m", "bigbatch.integrations.observer", str(tmp_path), "watching:notes", "0"]
    with subprocess.Popen(words, env=environment(), stdin=subprocess.PIPE) as process:
        process.stdin.close()
        assert process.wait(60) == 0
    assert json.loads((tmp_path / "noted.jsonl").read_text()) == {"iteration": 0, "loss": 1.0}


HANG = "__import__('time').sleep(1e6)"


@pytest.mark.parametrize(
    "program",
    [
        HANG,
        f"def observe(record):\n    {HANG}",
        f"def observe(record):\n    pass\n\n\nobserve.close = lambda: {HANG}",
    ],
    ids=["while it starts", "at a line", "at the end"],
)
def test_a_hanging_observer_is_ended_some_minutes_after_the_training(tmp_path, monkeypatch, program):
    """The minutes are a second here."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "hanging.py").write_text(program)
    (tmp_path / "metrics.jsonl").write_text('{"iteration": 0, "loss": 1.0}\n')
    start = (
        "import sys; from bigbatch.integrations import observer as o; o.SECONDS_AFTER_THE_END = 1; sys.exit(o.main())"
    )
    words = [sys.executable, "-c", start, str(tmp_path), "hanging:observe", "0"]
    assert subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode == -signal.SIGALRM


def test_lines_are_read_when_they_are_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert list(new_lines(path, 0)) == []
    path.write_text('{"iteration": 0}\n{"iter')
    assert list(new_lines(path, 0)) == [({"iteration": 0}, 17)]
    assert list(new_lines(path, 17)) == []


def test_a_library_that_is_missing_is_named_and_the_training_goes_on(train):
    done, _ = train("--set", 'launch.observers=["mlflow"]', patience=300)
    assert done.returncode == 0, done.stderr
    assert "mlflow has failed, the training has not: the observer mlflow needs its library: pip install" in done.stdout


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("observers", ("tensorbord",), "launch.observers 'tensorbord' is unknown; did you mean 'tensorboard'"),
        ("hooks", ("looks",), "launch.hooks: 'looks' is not of the form package.module:callable"),
    ],
)
def test_unknown_names_are_refused(field, value, line):
    with pytest.raises(InputError, match=line):
        Launch(**{field: value})


def test_observers_and_hooks_are_not_a_part_of_the_result():
    changed = with_settings(digits(), ['launch.observers=["wandb"]', 'launch.hooks=["a:b"]'])
    assert differences(digits(), changed) == []


def test_hooks_are_called_at_every_moment_by_every_process(train, tmp_path):
    done, _ = train("--set", 'launch.hooks=["watching:looks"]', "--processes", "2")
    assert done.returncode == 0, done.stderr
    step = "before step {0} {1}\nafter step {0} {2}\n"
    epoch = [
        f"before epoch {e} {2 * e}\n{step.format(e, 2 * e, 2 * e + 1)}{step.format(e, 2 * e + 1, 2 * e + 2)}"
        for e in (0, 1)
    ]
    for rank in (0, 1):
        lines = (tmp_path / f"moments-{rank}.txt").read_text()
        assert lines.replace("after epoch 0 2\n", "").replace("after epoch 1 4\n", "") == "".join(epoch)
        assert lines.count("after epoch") == 2


def test_a_hook_that_fails_ends_the_training_as_a_model_does(train):
    done, _ = train("--set", 'launch.hooks=["watching:raises"]')
    assert done.returncode == 1
    assert "RuntimeError: no more" in done.stderr


def test_verify_finds_the_hook_that_changes_bits(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    recipe = with_settings(digits(), ["minibatch_size=512", 'launch.hooks=["watching:looks"]'])
    monkeypatch.chdir(tmp_path)
    good = check_hooks(recipe, 1, iterations=2)
    assert good.is_passed, good.text
    bad = check_hooks(with_settings(recipe, ['launch.hooks=["watching:looks", "watching:touches"]']), 1, iterations=2)
    assert not bad.is_passed
    assert "'watching:touches' changes what it may only look at" in bad.text


def test_nothing_is_started_without_observers(tmp_path):
    found = observers.Observers(RunFolder(tmp_path), ())
    assert list(found.warnings()) == list(found.close()) == []
