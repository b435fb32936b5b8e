"""Parts of a model that are not trained, for some epochs or for good."""

import pytest
import torch
from torch import nn

from bigbatch.checkpoint.loading import load_last_good
from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections import Model
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.build import build
from bigbatch.training.freezing import Freezing
from bigbatch.training.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = with_settings(
    digits(), ["minibatch_size=640", "worker_minibatch_size=64", "epochs=2", "model.width=2", "warmup.epochs=0"]
)


def recipe_with(*changes):
    return with_settings(SMALL, changes)


def built(recipe):
    return build(recipe, MACHINE, aggregation=AggregationOptions(), loader_workers=0)


def weights_after(folder, recipe):
    (_, state), _ = load_last_good(RunFolder(folder).checkpoints, recipe=recipe, like=None)
    return state["model"]


def net():
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    return nn.ModuleDict({"stem": body, "head": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False))})


def test_a_pattern_freezes_what_it_matches_and_its_normalisations():
    model = net()
    freezing = Freezing(model, ["stem.*"], 0)
    freezing.freeze()
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["head.0.weight", "head.0.bias"]
    model.train()
    assert not model["stem"][1].training
    assert model["head"][1].training
    freezing.thaw()
    assert all(p.requires_grad for p in model.parameters())


def test_half_a_normalisation_stays_in_training_mode():
    assert Freezing(net(), ["stem.1.weight"], 0).norms == []


@pytest.mark.parametrize(
    ("pattern", "hint"), [("stm.*", "did you mean 'stem.*'"), ("layer9.*", "known are"), ("", "known")]
)
def test_a_pattern_without_a_match_is_refused(pattern, hint):
    with pytest.raises(InputError, match=f"model.frozen: '{pattern.replace('*', '.')}' matches no parameter.*{hint}"):
        Freezing(net(), ["head.*", pattern], 0)


def test_what_the_model_has_frozen_itself_stays_frozen():
    model = net()
    model["stem"][0].weight.requires_grad = False
    freezing = Freezing(model, ["stem.*"], 1)
    freezing.freeze()
    freezing.thaw()
    assert not model["stem"][0].weight.requires_grad
    with pytest.raises(InputError, match="matches no parameter that is trained"):
        Freezing(model, ["stem.0.weight"], 1)


def test_epochs_without_names_are_refused():
    with pytest.raises(InputError, match=r"model\.frozen_epochs needs model\.frozen"):
        Model("resnet18", frozen_epochs=2)
    with pytest.raises(InputError, match="frozen_epochs must be a number of at least 0"):
        Model("resnet18", frozen=("a",), frozen_epochs=-1)


def test_everything_frozen_is_refused():
    with pytest.raises(InputError, match="no parameter to train"):
        built(recipe_with('model.frozen=["*"]', "model.frozen_epochs=1"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_what_is_frozen_for_good_keeps_every_bit(tmp_path, optimizer):
    recipe = recipe_with('model.frozen=["stem*", "*.branch.1.*"]', f"optimizer.name={optimizer}", "epochs=1")
    start = {name: value.clone() for name, value in built(recipe).model.state_dict().items()}
    train(recipe, RunFolder(tmp_path), MACHINE)
    end = weights_after(tmp_path, recipe)
    frozen = [name for name in start if name.startswith("stem") or ".branch.1." in name]
    assert frozen
    for name, value in start.items():
        if name in frozen:
            assert torch.equal(value, end[name]), name
    assert not torch.equal(start["fc.weight"], end["fc.weight"])


THAWED = 'model.frozen=["stem.*"]', "model.frozen_epochs=1", "average.decay=0.9"


def test_thawed_after_an_epoch_it_trains_and_a_resumption_anywhere_gives_the_same_bits(tmp_path):
    recipe = recipe_with(*THAWED)
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    start, end = built(recipe).model.state_dict(), weights_after(tmp_path / "whole", recipe)
    changed = [name for name in start if name.startswith("stem") and not torch.equal(start[name], end[name])]
    assert changed
    for stop in (2, 3):
        folder = RunFolder(tmp_path / f"stop{stop}")
        train(recipe, folder, MACHINE, stop_after_iteration=stop)
        state = weights_after(folder.path, recipe)
        assert all(torch.equal(start[name], state[name]) for name in changed) == (stop <= 2)
        again = train(recipe, folder, MACHINE)
        assert (again.weights_sha256, again.average_sha256) == (whole.weights_sha256, whole.average_sha256), stop


def test_frozen_for_longer_than_the_training_is_frozen_for_good(tmp_path):
    ends = [
        train(
            recipe_with('model.frozen=["stem.*"]', f"model.frozen_epochs={n}", "epochs=1"),
            RunFolder(tmp_path / str(n)),
            MACHINE,
        )
        for n in (0, 1, 9)
    ]
    assert len({end.weights_sha256 for end in ends}) == 1


def test_any_number_of_processes_gives_the_same_bits_across_the_border(bigbatch, tmp_path):
    options = [part for change in (*THAWED, "model.width=2", "worker_minibatch_size=64") for part in ("--set", change)]
    for p in (1, 3):
        common = ("train", "digits", "--epochs", 2, "--minibatch-size", 640, *options)
        done = bigbatch(*common, "--processes", p, "--output", tmp_path / f"p{p}")
        assert done.returncode == 0, done.stderr
    hashes = {read_record(tmp_path / f"p{p}").summary.weights_sha256 for p in (1, 3)}
    assert len(hashes) == 1
