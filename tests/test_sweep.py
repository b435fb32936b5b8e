"""A sweep runs every run once, even if it is interrupted."""

import json
import os
import signal
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
from trial import Trial, children, is_alive

from bigbatch.cli import main
from bigbatch.cli.commands.sweep import exit_code_of
from bigbatch.errors import InputError
from bigbatch.processes.stop_signals import StopSignals
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.study.sweep.children import Child, Ending, ending_of, training_arguments
from bigbatch.study.sweep.gpus import default_jobs, find_gpus
from bigbatch.study.sweep.runner import Runner
from bigbatch.study.sweep.watching import Pace, Running, Watch
from bigbatch.study.variants import PLAIN, VARIANTS, find_variant

HERE = {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
TINY = ("--set=model.width=4", "--set=reference.minibatch_size=256", "--set=reference.learning_rate=0.8")
TINY_SWEEP = ("sweep", "digits", "--minibatch-sizes=256", "--seeds=3", "--epochs=6", *TINY)
RUNS = ("recipe-256-seed0", "recipe-256-seed1", "recipe-256-seed2")


class Silent:
    """A display that keeps what it is told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def show(self, num_done, running, seconds_left):
        pass


def test_a_run_has_no_more_processes_than_its_first_minibatch_has_workers(sweep, monkeypatch):
    started = []

    def start(job, *, processes, **_):
        started.append((job.configuration, processes))
        msg = "this is all that was asked"
        raise InputError(msg)

    monkeypatch.setattr("bigbatch.study.sweep.runner.start", start)
    runner = Runner(
        sweep.jobs[:3], num_done=0, at_once=3, processes=5, gpus=[], display=Silent(), pace=Pace(), measure=TOP_1_ERROR
    )
    with StopSignals(what_follows="") as signals:
        runner.run(signals)
    assert started == [(("recipe", 16), 1), (("recipe", 64), 4), (("recipe", 256), 5)]


@pytest.mark.parametrize("code", [0, -15, 1])
def test_a_run_that_has_said_that_it_is_finished_is(sweep, record, tmp_path, code):
    """It does not matter how its process ends afterwards."""
    record("recipe-16-seed0", 2.5)
    job = sweep.jobs[0]
    child = Child(Running(job, Watch(job.folder.path)), Namespace(returncode=code), tmp_path, 0, 0)
    assert ending_of(child, is_stopping=True) == Ending(job, "finished", result=2.5)


def test_after_three_failures_in_a_row_no_more_are_started(sweep, monkeypatch):
    def start(job, **_):
        msg = f"no room for {job.name}"
        raise InputError(msg)

    monkeypatch.setattr("bigbatch.study.sweep.runner.start", start)
    display = Silent()
    runner = Runner(
        sweep.jobs, num_done=0, at_once=2, processes=1, gpus=[], display=display, pace=Pace(), measure=TOP_1_ERROR
    )
    with StopSignals(what_follows="") as signals:
        endings = runner.run(signals)
    assert [ending.kind for ending in endings] == ["failed"] * 3
    assert display.said[-1] == "3 runs have failed one after the other: no more are started"
    assert exit_code_of(endings, is_stopped=False) == 1


def test_runs_at_once_have_gpus_of_their_own_as_long_as_there_are_enough(sweep, monkeypatch, tmp_path):
    def start(job, **given):
        told.append((given["place"], given["environment"].get("CUDA_VISIBLE_DEVICES")))
        running = Running(job, Watch(tmp_path))
        return Child(running, Namespace(poll=lambda: 0), tmp_path, 0, given["place"])

    told = []
    monkeypatch.setattr("bigbatch.study.sweep.runner.start", start)
    monkeypatch.setattr(
        "bigbatch.study.sweep.runner.ending_of", lambda child, **_: Ending(child.running.job, "diverged")
    )
    for gpus in (["4", "5", "7"], ["4"]):
        runner = Runner(
            sweep.jobs[:3],
            num_done=0,
            at_once=2,
            processes=1,
            gpus=gpus,
            display=Silent(),
            pace=Pace(),
            measure=TOP_1_ERROR,
        )
        with StopSignals(what_follows="") as signals:
            runner.run(signals)
    assert told == [(0, "4"), (1, "5"), (0, "4"), (0, None), (1, None), (0, None)]
    for name in "ab":
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert find_gpus({}, tmp_path / "gpus") == ["0", "1"]
    assert find_gpus({}, tmp_path / "none") == []
    assert default_jobs(2, ["0", "1", "2", "3", "4"]) == 2
    assert default_jobs(64, ["0"]) == 1


def test_a_run_that_goes_on_takes_what_the_result_does_not_depend_on_from_the_sweep(sweep, record):
    record("recipe-16-seed0")
    job = sweep.jobs[0]
    assert not [a for a in training_arguments(job, processes=1) if a.startswith("--set")]
    changed = replace(job, recipe=with_settings(job.recipe, ["launch.on_nonfinite=skip", "data.path=/a b"]))
    arguments = [a for a in training_arguments(changed, processes=1) if a.startswith("--set")]
    assert sorted(arguments) == ['--set=data.path="/a b"', '--set=launch.on_nonfinite="skip"']


def test_metrics_are_read_as_they_grow_and_by_whole_lines(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert Watch(tmp_path).result is None
    metrics.write_text('{"epoch": 1, "validation_error": 50.0}\n')
    watch = Watch(tmp_path)
    with metrics.open("a") as file:
        file.write('{"iteration": 3, "loss": 1}\n{"epoch": 2, "validation_')
        file.flush()
        watch.look()
        assert (watch.epoch, watch.first_epoch) == (1, 1)
        file.write('error": 30.0}\nno json "validation_error"\n')
        file.flush()
    watch.look()
    assert (watch.epoch, watch.result, watch.total_epochs) == (2, 40.0, None)
    with metrics.open("a") as file:
        file.write('{"epoch": 3, "validation_error": 20.0, "total_epochs": 7}\n')
    watch.look()
    assert (watch.epoch, watch.total_epochs) == (3, 7)


def test_the_time_left_follows_from_the_epochs_that_are_over(sweep, tmp_path, monkeypatch):
    small, large = (next(j for j in sweep.jobs if j.configuration == (PLAIN, size)) for size in (16, 256))
    pace = Pace.of_finished([(small, 60.0), (large, 30.0), (large, None)])
    waiting = [
        small,
        large,
        next(j for j in sweep.jobs if j.configuration == (PLAIN, 64)),
    ]  # of which nothing is known: the mean
    assert pace.seconds_left(waiting, [], at_once=1) == pytest.approx(60 + 30 + 45)
    assert pace.seconds_left(waiting, [], at_once=3) == pytest.approx(60), "the longest run"
    slow = next(j for j in sweep.jobs if j.configuration == ("unscaled", 256))
    assert pace.seconds_left([slow], [], at_once=1) == pytest.approx(30), "what its size costs in other variants"
    both = Pace.of_finished([(small, 60.0), (large, 30.0), (slow, 90.0)])
    assert both.seconds_left([large, slow], [], at_once=1) == pytest.approx(30 + 90)
    run = Running(small, Watch(tmp_path), since=0.0)
    run.watch.results |= {1: 9.0, 2: 9.0, 3: 9.0}
    monkeypatch.setattr("time.monotonic", lambda: 12.0)
    assert Pace().seconds_left([], [run], at_once=1) == pytest.approx(27 * 4), "by its own pace"
    assert Pace().seconds_left(waiting, [], at_once=1) is None
    run.watch.total_epochs = 60  # AdaScale: it expects to train twice as long
    assert Pace().seconds_left([], [run], at_once=1) == pytest.approx(57 * 4)
    assert Pace().seconds_left([small], [run], at_once=1) == pytest.approx(57 * 4 + 60 * 4), "and so will the next"


# Processes


def run_json(folder):
    """Return the summary of a run; empty if there is none."""
    return RunFolder(folder).read_summary_or_nothing()


def states_of(folder):
    """Return the status of every run of a sweep."""
    return {path.name: run_json(path).status for path in sorted(folder.glob("recipe-*"))}


def times_of(folder, names):
    """Return when run.json was last written."""
    return {name: (folder / name / "run.json").stat().st_mtime_ns for name in names}


@pytest.fixture
def trial(tmp_path):
    """Return a sweep of three tiny runs in tmp_path/s, to be started; what it prints goes to a file."""
    trial = Trial(tmp_path / "s", *TINY_SWEEP)
    yield trial
    if trial.process and trial.process.poll() is None:
        trial.process.kill()
        trial.process.wait()


def test_whatever_ends_it_a_sweep_goes_on_and_repeats_nothing(trial, bigbatch, tmp_path, capsys):
    """SIGTERM, then kill -9, then to the end; a second sweep meanwhile is refused."""
    first, second, third = RUNS
    folder = trial.folder
    trial.start("--jobs=1").wait_for(lambda: Watch(folder / second).epoch)
    trial.kill(trial.launcher(), signal.SIGTERM)
    assert trial.wait() == 75, trial.printed()
    assert "SIGTERM: the runs in progress (1) save and stop\n" in trial.printed()
    assert "1 of 3 runs are done; the same command goes on" in trial.printed()
    assert states_of(folder) == {first: "finished", second: "stopped"}

    trial.start("--jobs=2").wait_for(lambda: Watch(folder / third).epoch)
    runs = children(trial.launcher())
    for run in runs:
        trial.kill(run, signal.SIGSTOP)  # it must still be going on when it is killed
    assert main([*TINY_SWEEP, "--output", str(folder)]) == 2
    refused = capsys.readouterr().err
    assert f"another sweep is writing to {folder}; wait for it" in refused
    assert refused.count("\n") == 1
    assert main([*TINY_SWEEP, "--output", str(folder), "--show"]) == 0
    assert "running: " in capsys.readouterr().out
    assert runs
    trial.kill(trial.launcher())
    trial.wait()
    wait_until_gone(runs)
    done = [name for name, status in states_of(folder).items() if status == "finished"]
    assert (first in done, third in done) == (True, False)

    before = times_of(folder, done)
    assert trial.run("--jobs=2") == 0, trial.printed()
    assert f"3 runs in {folder}, {len(done)} of them are there already; " in trial.printed()
    assert times_of(folder, done) == before
    assert states_of(folder) == dict.fromkeys(RUNS, "finished")
    assert [len(run_json(folder / name).attempts) for name in (first, third)] == [1, 2]

    undisturbed = bigbatch("train", folder / third / "recipe.toml", "--output=undisturbed", "--processes=1")
    assert undisturbed.returncode == 0, undisturbed.stderr
    weights = run_json(tmp_path / "undisturbed").weights_sha256
    assert run_json(folder / third).weights_sha256 == weights


def wait_until_gone(processes):
    """Wait until processes have ended that are no children of ours."""
    deadline = time.monotonic() + 30
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, "the runs have outlived their sweep"
        os.sched_yield()


def test_a_divergence_is_a_result_and_a_failure_is_named_and_the_sweep_goes_on(bigbatch, tmp_path):
    variants = "huge:reference.learning_rate=1e30,broken:loss=user_models:no_such_loss,recipe"
    command = ("sweep", "digits", "--minibatch-sizes", "256", "--seeds", 1, "--variants", variants, "--epochs", 1)
    command = (*command, *TINY, "--output", "s", "--jobs", 2)
    done = bigbatch(*command, "--json", **HERE)
    assert done.returncode == 1, done.stderr
    table = json.loads(done.stdout)
    rows = {(row["variant"], row["minibatch_size"]): row for row in table["rows"]}
    error = json.loads((tmp_path / "s" / "recipe-256-seed0" / "run.json").read_text())["validation_error"]
    assert rows["recipe", 256]["mean"] == error
    assert rows["recipe", 256]["std"] is None
    assert (rows["huge", 256]["mean"], rows["huge", 256]["seeds_diverged"]) == (None, 1)
    assert rows["broken", 256]["mean"] is None
    assert "failed: 'user_models:no_such_loss': module 'user_models' has no callable 'no_such_loss'" in done.stderr
    again = bigbatch(*command, **HERE)
    assert again.returncode == 1, again.stderr
    assert "3 runs in s, 2 of them are there already; 1 at once" in again.stdout
    assert "diverged: huge-256-seed0: the loss or a gradient is NaN or infinite at iteration" in again.stdout
    assert "failed: broken-256-seed0: 'user_models:no_such_loss'" in again.stdout
    runs = json.loads(bigbatch("runs", "s", "--json").stdout)
    assert {Path(row["run"]).name: row["state"] for row in runs} == {
        "recipe-256-seed0": "finished",
        "huge-256-seed0": "diverged",
        "broken-256-seed0": "damaged",  # it has ended before it could say anything
    }


def test_every_variant_has_its_meaning_in_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        main(["sweep", "--list-variants"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(VARIANTS)]] == list(VARIANTS)
    assert all("arXiv" in line or line.startswith("recipe ") for line in lines[: len(VARIANTS)])
    assert find_variant("recipe").settings(digits(), 16) == ()
