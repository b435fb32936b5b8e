"""A run that goes on for longer than it was planned to be."""

import pytest
import torch

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import is_longer
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.comparison import compare
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = with_settings(
    digits(), ["minibatch_size=640", "worker_minibatch_size=64", "epochs=2", "model.width=2", "warmup.epochs=1"]
)
MORE = "epochs=4"
OTHER_UNIT = "schedule.kind=constant", "warmup.kind=none"


def trained(folder, *changes, recipe=SMALL, **options):
    return train(with_settings(recipe, changes), RunFolder(folder), MACHINE, **options)


RIGHT = {
    "constant": ("schedule.kind=constant",),
    "step": ("schedule.milestones=[1,3]",),
    "before the decay": ("schedule.kind=warmup-stable-decay", "schedule.share=0.5"),
    "plateau": ("schedule.kind=plateau", "schedule.patience=0"),
    "growing": ("growth.kind=schedule", "growth.start=320", "schedule.milestones=[1]", "schedule.factor=0.5"),
    "in iterations": ("iterations=160", "schedule.kind=constant", "warmup.iterations=40"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_it_is_the_run_that_was_longer_from_the_start(tmp_path, case):
    """The same bits, results and facts; run.json tells both lengths."""
    stop = {"stop_after_epoch": 1} if case == "before the decay" else {}
    more = "iterations=320" if case == "in iterations" else MORE
    trained(tmp_path / "run", *RIGHT[case], **stop)
    longer = trained(tmp_path / "run", *RIGHT[case], more)
    trained(tmp_path / "whole", *RIGHT[case], more)
    assert longer.status == "finished"
    record, whole = read_record(tmp_path / "run"), read_record(tmp_path / "whole")
    comparison = compare(record, whole)
    assert comparison.is_identical
    assert comparison.outside == []
    lengths = [attempt.length for attempt in record.attempts]
    assert lengths == [str(of.length) for of in (with_settings(SMALL, RIGHT[case]), whole.recipe)]
    assert RunFolder(tmp_path / "run").recipe == record.recipe == whole.recipe


WRONG = {
    "cosine": (("schedule.kind=cosine",), {}, "had the rate"),
    "linear": (("schedule.kind=linear",), {"stop_after_epoch": 2}, "had the rate"),
    "one cycle": (("schedule.kind=one-cycle",), {}, "had the rate"),
    "within the decay": (("schedule.kind=warmup-stable-decay", "schedule.share=0.5"), {}, "had the rate"),
    "a cut epoch": (("schedule.kind=constant", "epochs=1.5"), {}, "its last epoch was cut short"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_would_be_a_mixture_is_refused_and_nothing_changes(tmp_path, case):
    changes, options, message = WRONG[case]
    trained(tmp_path, *changes, **options)
    before = (tmp_path / "run.json").read_bytes(), (tmp_path / "recipe.toml").read_bytes()
    with pytest.raises(InputError, match=f"cannot go on for 4 epochs: .*{message}.*--set model.weights=FILE"):
        trained(tmp_path, *changes, MORE)
    assert ((tmp_path / "run.json").read_bytes(), (tmp_path / "recipe.toml").read_bytes()) == before


def test_only_a_longer_training_that_is_else_the_same_goes_on(tmp_path):
    trained(tmp_path)
    for changes in (("epochs=1",), (MORE, "seed=1"), ("samples=9999", *OTHER_UNIT)):
        with pytest.raises(InputError, match="cannot resume: the recipe differs in"):
            trained(tmp_path, *changes)
    in_samples = with_settings(SMALL, ["samples=99", *OTHER_UNIT])
    assert not is_longer(SMALL, in_samples)


def test_the_command_says_so_and_needs_resume(bigbatch, tmp_path):
    common = (
        "train",
        "digits",
        "--minibatch-size",
        640,
        "--output",
        tmp_path,
        "--set",
        "worker_minibatch_size=64",
        "--set",
        "model.width=2",
    )
    assert bigbatch(*common, "--epochs", 1).returncode == 0
    refused = bigbatch(*common, "--epochs", 2)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    done = bigbatch(*common, "--epochs", 2, "--resume")
    assert done.returncode == 0, done.stderr
    assert "goes on for 2 epochs instead of 1 epochs: until here both have the same rates" in done.stdout + done.stderr
