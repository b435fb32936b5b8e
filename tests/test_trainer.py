"""A training in this process, from recipe to error."""

import json
from dataclasses import replace

import pytest
import torch

from bigbatch.errors import InputError
from bigbatch.launch import Machine
from bigbatch.presets import digits
from bigbatch.recipe_file import with_settings
from bigbatch.reduction.options import AggregationOptions
from bigbatch.reduction.processes import Processes
from bigbatch.run_evaluation import evaluate_run
from bigbatch.runs import RunFolder
from bigbatch.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = with_settings(digits(), ["minibatch_size=256", "epochs=3", "model.width=4", "model.dropout=0.1"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    return folder, train(SMALL, folder, MACHINE)


def test_the_folder_tells_the_whole_run(run):
    folder, summary = run
    assert folder.read_summary() == json.loads(json.dumps(summary))
    assert summary["status"] == "finished"
    assert summary["iterations"] == 15
    epochs = folder.read_epochs()
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3]
    assert summary["final_validation_error"] == epochs[-1]["validation_error"]
    assert summary["validation_error"] == sorted(epoch["validation_error"] for epoch in epochs)[1]
    lines = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    rate = SMALL.learning_rate(5)
    assert [(line["iteration"], line["learning_rate"]) for line in lines if "loss" in line and "epoch" not in line] == [
        (i, rate(i)) for i in range(15)
    ]


def test_interrupted_and_resumed_it_gives_the_same_bits(run, tmp_path):
    folder = RunFolder(tmp_path / "parts")
    stopped = train(SMALL, folder, MACHINE, stop_after_epoch=1)
    assert (stopped["status"], stopped["iterations"]) == ("stopped", 5)
    resumed = train(SMALL, folder, MACHINE)
    assert resumed["weights_sha256"] == run[1]["weights_sha256"]
    assert resumed["validation_error"] == run[1]["validation_error"]
    assert [attempt["from_sample"] for attempt in resumed["attempts"]] == [0, 1280]
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert train(SMALL, folder, replace(MACHINE, threads=2)) == json.loads(json.dumps(resumed))
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    with pytest.raises(InputError, match="the recipe differs in epochs: 3 -> 4"):
        train(replace(SMALL, epochs=4), folder, MACHINE)


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
    assert train(moved, folder, MACHINE)["status"] == "finished"


def test_the_recipe_in_the_folder_repeats_the_run(run, tmp_path):
    assert train(run[0].recipe, RunFolder(tmp_path / "again"), MACHINE)["weights_sha256"] == run[1]["weights_sha256"]


@pytest.mark.parametrize(
    "setting", ["seed=1", "data.augmentation=['flip']", "model.dropout=0.2", "optimizer.momentum=0.8"]
)
def test_another_recipe_gives_other_bits(tmp_path, setting):
    changed = with_settings(SMALL, [setting, "epochs=1"])
    same = replace(SMALL, epochs=1)
    assert (
        train(changed, RunFolder(tmp_path / "a"), MACHINE)["weights_sha256"]
        != train(same, RunFolder(tmp_path / "b"), MACHINE)["weights_sha256"]
    )


def test_readers_ahead_do_not_change_a_bit(tmp_path):
    recipe = with_settings(SMALL, ["epochs=1", "data.augmentation=['crop', 'flip']"])
    hashes = {train(recipe, RunFolder(tmp_path / str(w)), MACHINE, num_workers=w)["weights_sha256"] for w in (0, 2)}
    assert len(hashes) == 1


def test_an_evaluation_of_the_run_finds_its_final_error(run):
    folder, summary = run
    result = evaluate_run(folder, MACHINE)
    assert result["validation_error"] == summary["final_validation_error"]
    assert result["weights_sha256"] == summary["weights_sha256"]
    assert result["num_samples"] == 517


def test_what_cannot_be_evaluated_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        evaluate_run(RunFolder(tmp_path), MACHINE)
    folder = RunFolder(tmp_path / "new")
    folder.create(SMALL)
    with pytest.raises(InputError, match="has no checkpoint yet"):
        evaluate_run(folder, MACHINE)
