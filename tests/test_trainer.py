"""A training in this process, from recipe to error."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bigbatch.checkpoint.loading import load_last_good
from bigbatch.checkpoint.manifest import data_files, iteration_of, list_manifests
from bigbatch.checkpoint.saving import save_checkpoint
from bigbatch.checkpoint.weights import weights_sha256
from bigbatch.errors import DisagreementError, InputError, NonFiniteError, SaveError
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.training.restore import restore_model, restore_optimizer
from bigbatch.training.run_evaluation import Export, evaluate_run, export_run
from bigbatch.training.trainer import train

PARTS = ("initialisation", "order", "augmentation")
MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = with_settings(digits(), ["minibatch_size=256", "epochs=3", "model.width=4", "model.dropout=0.1"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    return folder, train(SMALL, folder, MACHINE)


def test_the_folder_tells_the_whole_run(run):
    folder, summary = run
    assert folder.read_summary().to_json() == json.loads(json.dumps(summary.to_json()))
    assert summary.status == "finished"
    assert summary.iterations == 15
    epochs = folder.read_epochs()
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3]
    assert summary.final_result == epochs[-1].result
    assert summary.result == sorted(epoch.result for epoch in epochs)[1]
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    rate = SMALL.learning_rate(5)
    assert [(line["iteration"], line["learning_rate"]) for line in lines if "loss" in line and "epoch" not in line] == [
        (i, rate(i)) for i in range(15)
    ]


def test_each_part_of_the_randomness_has_a_seed_of_its_own(run, tmp_path):
    """The recipe's seed alone is the same as giving it to each part; another seed for any part alone is another run."""
    same = [f"seeds.{part}=0" for part in PARTS]
    hashes = {run[1].weights_sha256}
    spelt_out = train(with_settings(SMALL, ["seed=7", *same]), RunFolder(tmp_path / "same"), MACHINE)
    assert spelt_out.weights_sha256 in hashes
    for part in PARTS:
        changed = with_settings(SMALL, [f"seeds.{part}=1", "epochs=1"])
        hashes.add(train(changed, RunFolder(tmp_path / part), MACHINE).weights_sha256)
    hashes.add(train(with_settings(SMALL, ["epochs=1"]), RunFolder(tmp_path / "none"), MACHINE).weights_sha256)
    assert len(hashes) == 5
    with pytest.raises(InputError, match=r"seeds\.order must be between 0 and .*, or -1"):
        with_settings(SMALL, ["seeds.order=-2"])


ADAPTIVE = {
    "adascale": ("scaling.rule=adascale", "minibatch_size=128", "epochs=1"),
    "growing by the schedule": (
        "growth.kind=schedule",
        "growth.start=64",
        "schedule.milestones=[1.0]",
        "warmup.epochs=0",
    ),
    "growing with the noise": ("growth.kind=noise-scale", "growth.start=64", "minibatch_size=128", "warmup.epochs=0"),
}


@pytest.mark.parametrize("changes", ADAPTIVE.values(), ids=ADAPTIVE)
def test_what_follows_from_the_course_is_resumed_to_the_same_bits(tmp_path, changes):
    """Interrupted within the first epoch and within the last, after the minibatch has grown."""
    recipe = with_settings(SMALL, ["average.decay=0.9", *changes])
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    assert whole.status == "finished"
    folder = RunFolder(tmp_path / "parts")
    for stop in (7, whole.iterations - 2):
        assert train(recipe, folder, MACHINE, stop_after_iteration=stop).iterations == stop
    resumed = train(recipe, folder, MACHINE)
    lines = [run.read_iterations() for run in (RunFolder(tmp_path / "whole"), folder)]
    assert lines[0] == lines[1]
    for key in ("weights_sha256", "average_sha256", "result", "iterations"):
        assert getattr(resumed, key) == getattr(whole, key) is not None
    sizes = [line.minibatch_size or recipe.minibatch_size for line in lines[0]]
    if recipe.is_growing:
        assert (sizes[0], sizes[-1]) == (64, recipe.minibatch_size)
        assert len(sizes) < 3 * 20
    else:
        gains = [line.gain for line in lines[0]]
        assert all(1 <= gain <= 8 for gain in gains)
        assert sum(gains[:-1]) < 80 <= sum(gains), "as many steps as the reference has in its one epoch"
        last = folder.read_epochs()[-1]
        assert last.epoch == last.total_epochs > 1, "how long it expects to be, which a sweep shows"
    assert sum(sizes) == json.loads(list_manifests(folder.checkpoints)[0].read_text())["samples_consumed"]


def test_the_noise_is_measured_in_every_eighth_iteration_with_two_workers_or_more(run):
    lines = run[0].read_iterations()
    assert [line.iteration for line in lines if line.gradient_square is not None] == [0, 8]
    assert all(line.gradient_variance > 0 for line in lines if line.gradient_square is not None)


def test_interrupted_and_resumed_it_gives_the_same_bits(run, tmp_path):
    folder = RunFolder(tmp_path / "parts")
    stopped = train(SMALL, folder, MACHINE, stop_after_epoch=1)
    assert (stopped.status, stopped.iterations) == ("stopped", 5)
    resumed = train(SMALL, folder, MACHINE)
    assert resumed.weights_sha256 == run[1].weights_sha256
    assert resumed.result == run[1].result
    assert [attempt.from_sample for attempt in resumed.attempts] == [0, 1280]
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    again = train(SMALL, folder, replace(MACHINE, threads=2))
    assert again.to_json() == json.loads(json.dumps(resumed.to_json()))
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    with pytest.raises(InputError, match="the recipe differs in seed: 0 -> 1"):
        train(replace(SMALL, seed=1), folder, MACHINE)


def test_a_resumption_that_changes_the_bits_is_refused_or_said(tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    train(SMALL, folder, MACHINE, stop_after_epoch=1)
    with pytest.raises(InputError, match="was trained with --reduction exact; resume it with the same"):
        train(SMALL, folder, MACHINE, aggregation=AggregationOptions("native"))
    train(SMALL, folder, replace(MACHINE, threads=2), stop_after_epoch=2)
    assert "warning: threads_per_process was 1 and is 2: the bits can differ" in capsys.readouterr().out


def test_data_that_has_changed_is_refused_but_may_move(tmp_path, write_fashion):
    recipe = with_settings(SMALL, ["data.name=fashion-mnist", f"data.path={tmp_path / 'a'}", "minibatch_size=16"])
    write_fashion(tmp_path / "a", num_train=32)
    folder = RunFolder(tmp_path / "run")
    train(recipe, folder, MACHINE, stop_after_epoch=1)
    write_fashion(tmp_path / "b", num_train=33)
    with pytest.raises(InputError, match="the data has changed since"):
        train(with_settings(recipe, [f"data.path={tmp_path / 'b'}"]), folder, MACHINE)
    (tmp_path / "a").rename(tmp_path / "c")
    moved = with_settings(recipe, [f"data.path={tmp_path / 'c'}"])
    assert train(moved, folder, MACHINE).status == "finished"


def test_the_recipe_in_the_folder_repeats_the_run(run, tmp_path):
    assert train(run[0].recipe, RunFolder(tmp_path / "again"), MACHINE).weights_sha256 == run[1].weights_sha256


@pytest.mark.parametrize(
    "setting", ["seed=1", "data.augmentation=['flip']", "model.dropout=0.2", "optimizer.momentum=0.8"]
)
def test_another_recipe_gives_other_bits(tmp_path, setting):
    changed = with_settings(SMALL, [setting, "epochs=1"])
    same = replace(SMALL, epochs=1)
    assert (
        train(changed, RunFolder(tmp_path / "a"), MACHINE).weights_sha256
        != train(same, RunFolder(tmp_path / "b"), MACHINE).weights_sha256
    )


def test_readers_ahead_do_not_change_a_bit(tmp_path):
    recipe = with_settings(SMALL, ["epochs=1", "data.augmentation=['crop', 'flip']"])
    hashes = {train(recipe, RunFolder(tmp_path / str(w)), MACHINE, loader_workers=w).weights_sha256 for w in (0, 2)}
    assert len(hashes) == 1


def test_an_evaluation_of_the_run_finds_its_final_error(run):
    folder, summary = run
    result = evaluate_run(folder, MACHINE)
    assert result.scores.value == summary.final_result
    assert result.hashes.weights_sha256 == summary.weights_sha256
    assert result.scores.num_samples == 517


def test_what_cannot_be_evaluated_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        evaluate_run(RunFolder(tmp_path), MACHINE)
    folder = RunFolder(tmp_path / "new")
    folder.create(SMALL)
    with pytest.raises(InputError, match="has no checkpoint yet"):
        evaluate_run(folder, MACHINE)


@pytest.mark.parametrize("stops", [(3,), (5,), (1, 7, 14), (4, 5, 6, 10)])
def test_a_run_may_be_cut_anywhere_also_where_an_epoch_ends(run, tmp_path, stops):
    folder = RunFolder(tmp_path / "parts")
    for stop in stops:
        summary = train(SMALL, folder, MACHINE, stop_after_iteration=stop)
        assert (summary.status, summary.iterations) == ("stopped", stop)
        assert (summary.result is not None) == (stop >= 5)
    resumed = train(SMALL, folder, MACHINE)
    assert resumed.weights_sha256 == run[1].weights_sha256
    assert folder.read_iterations() == run[0].read_iterations()
    times = {"seconds": 0, "data_seconds": 0}
    without_seconds = [[{**epoch.to_json(), **times} for epoch in f.read_epochs()] for f in (folder, run[0])]
    assert without_seconds[0] == without_seconds[1], "the mean loss of an epoch that was cut is the same too"
    assert [attempt.from_sample // 256 for attempt in resumed.attempts] == [0, *stops]


def test_a_run_that_is_past_the_place_to_stop_stays_as_it_is(tmp_path):
    folder = RunFolder(tmp_path / "run")
    before = train(SMALL, folder, MACHINE, stop_after_iteration=7)
    again = train(SMALL, folder, MACHINE, stop_after_iteration=3)
    assert (again.iterations, again.weights_sha256) == (7, before.weights_sha256)


@pytest.mark.parametrize(
    ("setting", "saved"),
    [
        ("every_iterations=2", [15, 14, 12]),
        ("every_seconds=1e-9", [15, 14, 13]),
        ("every_epochs=2", [15, 10]),
        ("every_epochs=0", [15]),
        ("every_epochs=0, every_iterations=5", [15, 10, 5]),
        ("keep=1", [15]),
    ],
)
def test_checkpoints_are_saved_when_and_kept_as_the_recipe_says(run, tmp_path, monkeypatch, setting, saved):
    folder = RunFolder(tmp_path / "run")
    settings = ["every_seconds=0", "keep=3", *setting.split(", ")]
    recipe = with_settings(SMALL, [f"checkpoints.{part}" for part in settings])
    if "every_iterations" in setting:  # one that is still being written would make the next one be left out
        monkeypatch.setattr("bigbatch.checkpoint.writer.CheckpointWriter.is_busy", False)
    assert train(recipe, folder, MACHINE).weights_sha256 == run[1].weights_sha256
    newest = [iteration_of(path) for path in list_manifests(folder.checkpoints)]
    best = min(folder.read_epochs(), key=lambda epoch: epoch.result).iteration
    if setting == "every_seconds=1e-9":  # one that is still being written is not waited for
        assert newest[0] == 15
        assert len(newest) >= 3
    else:
        assert [iteration for iteration in newest if iteration in saved] == saved
        assert set(newest) - set(saved) <= {best}


def test_with_adascale_skipped_updates_are_worth_nothing_and_an_epoch_of_them_has_no_loss(tmp_path):
    """It ends after as many iterations as the reference takes, and every JSON reader can read its files."""
    changes = ["scaling.rule=adascale", "minibatch_size=128", "epochs=1", "reference.learning_rate=1e30"]
    folder = RunFolder(tmp_path / "run")
    summary = train(with_settings(SMALL, [*changes, "launch.on_nonfinite=skip"]), folder, MACHINE)
    lines = folder.read_iterations()
    assert sum(not line.skipped for line in lines) < 8
    assert summary.iterations == len(lines) == 80
    assert folder.read_epochs()[-1].loss is None


def test_with_adascale_an_average_keeps_what_each_update_is_worth(tmp_path, monkeypatch):
    kept, update = [], WeightAverage.update
    monkeypatch.setattr(WeightAverage, "update", lambda self: (kept.append(self.decay), update(self)))
    changes = ["scaling.rule=adascale", "minibatch_size=128", "epochs=1", "average.decay=0.9"]
    folder = RunFolder(tmp_path / "run")
    train(with_settings(SMALL, changes), folder, MACHINE)
    assert kept == [0.9**line.gain for line in folder.read_iterations()]
    assert len(set(kept)) > 1


def test_a_damaged_checkpoint_is_told_and_the_one_before_goes_on_to_the_same_bits(run, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    train(SMALL, folder, MACHINE, stop_after_epoch=2)
    newest = data_files(list_manifests(folder.checkpoints)[0])[0]
    newest.write_bytes(b"no checkpoint")
    assert train(SMALL, folder, MACHINE).weights_sha256 == run[1].weights_sha256
    printed = capsys.readouterr().out
    assert "iteration-000000010 is not used: it has 13 bytes instead of" in printed
    assert "goes on from the checkpoint of iteration 5" in printed
    assert (folder.checkpoints / "refused-iteration-000000010.json").exists()


def test_a_run_that_fails_says_so_and_can_be_gone_on_with(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(
            "bigbatch.training.loop.Loop.evaluate", lambda _: (_ for _ in ()).throw(RuntimeError("a fault\nx"))
        )
        with pytest.raises(RuntimeError, match="a fault"):
            train(SMALL, folder, MACHINE)
    assert folder.read_summary().status == "failed"
    assert folder.read_summary().error == "a fault"
    assert train(SMALL, folder, MACHINE).weights_sha256 == run[1].weights_sha256


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    recipe = with_settings(SMALL, ["reference.learning_rate=1e30", "scaling.rule=none", "epochs=1"])
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(
        NonFiniteError, match=r"is NaN or infinite at iteration 1: worker 0 \(and 15 more\), with the tr"
    ):
        train(recipe, folder, MACHINE)
    assert folder.read_summary().status == "failed"
    assert [line.iteration for line in folder.read_iterations()] == [0]  # the update before it is recorded
    state = load_last_good(folder.checkpoints, recipe=recipe, like=None)[0]
    assert state is None or all(bool(tensor.isfinite().all()) for tensor in state[1]["model"].values())


def test_after_a_nan_nothing_is_saved_that_the_processes_do_not_hold_alike(tmp_path, monkeypatch):
    recipe = with_settings(SMALL, ["reference.learning_rate=1e30", "scaling.rule=none", "epochs=1"])

    def differ(*_):
        raise DisagreementError

    monkeypatch.setattr("bigbatch.training.loop.Loop.compare", differ)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(DisagreementError):
        train(recipe, folder, MACHINE)
    assert not list_manifests(folder.checkpoints)


def test_a_second_writer_of_the_same_process_name_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    program = (
        "import sys; from pathlib import Path; from bigbatch.runs.lock import locked\nwith locked(Path(sys.argv[1])):"
    )
    program += " print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, folder.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        with pytest.raises(InputError, match="another process is writing the run"):
            train(SMALL, folder, MACHINE)
        holder.stdin.close()
    assert not folder.exists()


def test_the_best_weights_can_be_evaluated_and_exported(run, tmp_path):
    folder, _ = run
    epochs = folder.read_epochs()
    best = min(epochs, key=lambda epoch: (epoch.result, epoch.epoch))
    result = evaluate_run(folder, MACHINE, best=True)
    assert (result.iteration, result.scores.value) == (best.iteration, best.result)
    exported = export_run(folder, tmp_path / "best.safetensors", best=True)
    assert exported == Export(best.iteration, result.hashes)
    assert weights_sha256(load_file(tmp_path / "best.safetensors")) == result.hashes.weights_sha256


def failing_saves(*iterations):
    """Return a save that fails after these iterations."""

    def save(folder, snapshot, *, keep):
        if snapshot.position.iteration in iterations:
            raise OSError(28, "No space left on device")
        return save_checkpoint(folder, snapshot, keep=keep)

    return save


def test_a_training_whose_last_save_failed_is_not_finished(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("bigbatch.checkpoint.writer.save_checkpoint", failing_saves(15))
        with pytest.raises(SaveError, match="the end of the training could not be saved to"):
            train(SMALL, folder, MACHINE)
    assert folder.read_summary().status == "failed"
    resumed = train(SMALL, folder, MACHINE)
    assert (resumed.status, resumed.weights_sha256) == ("finished", run[1].weights_sha256)


def test_after_three_failed_saves_in_a_row_a_training_gives_up_and_can_be_gone_on_with(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    recipe = with_settings(SMALL, ["checkpoints.every_iterations=1", "checkpoints.every_epochs=0"])
    with monkeypatch.context() as patch:
        patch.setattr("bigbatch.checkpoint.writer.save_checkpoint", failing_saves(*range(3, 15)))
        patch.setattr("bigbatch.checkpoint.writer.CheckpointWriter.is_busy", False)  # each is waited for
        with pytest.raises(SaveError):
            train(recipe, folder, MACHINE)
    assert [iteration_of(path) for path in list_manifests(folder.checkpoints)] == [2, 1]
    assert len(folder.read_iterations()) < 10
    assert train(recipe, folder, MACHINE).weights_sha256 == run[1].weights_sha256


def test_a_finished_run_whose_last_checkpoint_is_damaged_goes_on_from_the_one_before(run, tmp_path, capsys):
    folder = RunFolder(tmp_path / "run")
    train(SMALL, folder, MACHINE)
    data_files(list_manifests(folder.checkpoints)[0])[0].unlink()
    again = train(SMALL, folder, MACHINE)
    assert (again.status, again.weights_sha256) == ("finished", run[1].weights_sha256)
    assert "iteration-000000015 is not used: it cannot be read" in capsys.readouterr().out


def test_buffers_that_a_state_dict_leaves_out_are_restored_too():
    model = torch.nn.Module()
    model.register_buffer("hidden", torch.zeros(2), persistent=False)
    restore_model(model, {"model": {}, "buffers": {"hidden": torch.ones(2)}})
    assert model.hidden.tolist() == [1, 1]
    with pytest.raises(InputError, match="the checkpoint is of another model"):
        restore_model(model, {"model": {}, "buffers": {"other": torch.ones(2)}})


def test_an_optimizers_state_keeps_its_dtypes_and_one_of_another_optimizer_is_refused():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    saved = optimizer.state_dict()
    saved["state"] = {0: {"sums": torch.ones(3, dtype=torch.float64), "half": torch.ones(3, dtype=torch.bfloat16)}}
    restore_optimizer(optimizer, saved)
    assert [value.dtype for value in optimizer.state[parameter].values()] == [torch.float64, torch.bfloat16]
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(3)) for _ in range(2)], lr=0.1)
    with pytest.raises(InputError, match="the checkpoint is of another optimizer"):
        restore_optimizer(other, saved)


def test_state_that_cannot_be_saved_is_refused_at_the_first_iteration(tmp_path, monkeypatch):
    monkeypatch.setattr("bigbatch.training.state.TrainingState.state", lambda _: {"optimizer": {1, 2}})
    with pytest.raises(InputError, match="cannot be saved safely"):
        train(SMALL, RunFolder(tmp_path / "run"), MACHINE)
    assert RunFolder(tmp_path / "run").read_iterations() == []


def test_a_training_that_fails_beside_readers_of_data_ends(tmp_path):
    """Forked readers hold copies of pipes, and ignore signals for a while: neither may keep the process."""
    program = (
        "from test_trainer import *\n"
        "import bigbatch.training.loop\n"
        "bigbatch.training.loop.set_learning_rate = lambda *_: [][0]\n"
        f"train(SMALL, RunFolder(Path({str(tmp_path / 'run')!r})), MACHINE, loader_workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,  # a busy machine takes long to start; what hangs, hangs longer
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert done.returncode == 1
    assert "IndexError" in done.stderr
    assert RunFolder(tmp_path / "run").read_summary().error == "list index out of range"
