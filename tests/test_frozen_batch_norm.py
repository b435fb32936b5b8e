"""Batch normalisation as a fixed linear layer: nothing moves it, and every path of a training keeps it so."""

import copy
import pickle

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import freeze_batch_norm
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections import Model
from bigbatch.recipe.warnings import warnings_of
from bigbatch.runs.comparison import compare
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.run_evaluation import export_run
from bigbatch.training.trainer import train
from bigbatch.verification.checks.coupling import check_coupling
from bigbatch.verification.checks.normalisation import check_normalisation
from bigbatch.verification.subject import build_subject
from test_freezing import MACHINE, built, recipe_with, weights_after

FROZEN = "model.frozen_batch_norm=true"


def net():
    body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    return nn.ModuleDict({"stem": body, "head": nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, affine=False))})


class Fixed(nn.Module):
    """Another library's frozen normalisation, as torchvision and transformers build it: of buffers alone."""

    def __init__(self, channels):
        super().__init__()
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((channels,), value))


class WithDropout(nn.BatchNorm1d):
    """A normalisation with a part that has modes of its own, as timm has them."""

    def __init__(self, channels):
        super().__init__(channels)
        self.drop = nn.Dropout(0.5)


COPIES = {
    "itself": lambda model: model,
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),  # noqa: S301 - our own
}


@pytest.mark.parametrize("kind", COPIES)
def test_it_is_the_linear_layer_of_its_statistics_in_every_mode_and_copy(kind):
    model = nn.Sequential(nn.BatchNorm2d(3))
    for tensor in model.state_dict().values():
        tensor.add_(2)
    before, image = copy.deepcopy(model.state_dict()), torch.randn(4, 3, 5, 5)
    expected = copy.deepcopy(model).eval()(image)
    assert freeze_batch_norm(model) == ["0"]
    model = COPIES[kind](model)
    assert model.state_dict().keys() == before.keys()
    for mode in (True, False, True):
        model.train(mode)
        assert torch.equal(model(image), expected)
        assert model.training == mode
    model[0].train()
    assert torch.equal(model(image), expected)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_copy_s_mode_is_its_own():
    model = nn.Sequential(WithDropout(2))
    freeze_batch_norm(model)
    other = copy.deepcopy(model)
    other.train()
    model.eval()
    assert (other[0].drop.training, model[0].drop.training) == (True, False)
    assert (other[0].training, model[0].training) == (False, False)


def test_patterns_choose_modules_and_everything_else_is_trained():
    model = net()
    assert freeze_batch_norm(model, ["stem.*"]) == ["stem.1"]
    model.train()
    modes = [model["stem"][1].training, model["stem"][2].training, model["head"][1].training]
    assert modes == [False, True, True]
    assert [n for n, p in model.named_parameters() if not p.requires_grad] == ["stem.1.weight", "stem.1.bias"]


def test_another_library_s_frozen_normalisation_counts_and_stays():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Fixed(2))
    assert freeze_batch_norm(model) == ["1"]
    assert "train" not in vars(model[1])
    with pytest.raises(InputError, match="matches no batch normalisation"):
        freeze_batch_norm(model, ["0"])


BAD = {
    "no such name": (net, ["stm.*"], r"model\.frozen_batch_norm: 'stm\.\*' matches no batch norm.*'stem\.\*'"),
    "a name that is none": (net, ["stem.*", "stem.0"], "'stem.0' matches no batch normalisation"),
    "no batch normalisation": (lambda: nn.Linear(2, 2), ["*"], "the model has no batch normalisation; leave it out"),
    "no statistics": (
        lambda: nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)),
        ["*"],
        "'0' has no running statistics",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_frozen_is_one_line(case):
    make, patterns, message = BAD[case]
    with pytest.raises(InputError, match=message) as refused:
        freeze_batch_norm(make(), patterns)
    assert "\n" not in str(refused.value)


# In recipes


@pytest.mark.parametrize(
    ("value", "expected", "patterns"),
    [("true", True, ("*",)), ("false", False, ()), ('["stem.*"]', ("stem.*",), ("stem.*",)), ("[]", (), ())],
)
def test_a_recipe_says_true_or_patterns_and_its_file_keeps_it(value, expected, patterns):
    recipe = with_settings(digits(), [f"model.frozen_batch_norm={value}"])
    assert recipe.model.frozen_batch_norm == expected
    assert recipe.model.frozen_norms == patterns
    assert from_toml(to_toml(recipe)) == recipe


@pytest.mark.parametrize("value", ["1", '"stem"', "[1]", "[true]", "{}"])
def test_a_value_of_another_kind_is_refused(value):
    with pytest.raises(InputError, match=r"model\.frozen_batch_norm.* must be"):
        with_settings(digits(), [f"model.frozen_batch_norm={value}"])


def test_statistics_of_no_data_are_warned_of():
    frozen = with_settings(digits(), [FROZEN])
    assert any("model.weights" in line for line in warnings_of(frozen))
    assert not warnings_of(with_settings(frozen, ["model.weights=w.pt"]))
    assert not warnings_of(with_settings(frozen, ["model.name=mine:net", "model.width=0"]))
    assert not warnings_of(digits())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The weights of a short run, whose statistics have moved."""
    folder = tmp_path_factory.mktemp("runs")
    train(recipe_with("epochs=1"), RunFolder(folder / "first"), MACHINE)
    export_run(RunFolder(folder / "first"), folder / "w.safetensors")
    return folder / "w.safetensors"


NORMS = ("last_norm", "stem.1.", "branch.1.", "shortcut.1.")


@pytest.mark.parametrize("settings", [["average.decay=0.9"], ['model.frozen=["fc.*"]', "model.frozen_epochs=1"]])
def test_a_run_moves_no_bit_of_it_and_a_resumption_gives_the_same_bits(tmp_path, exported, settings):
    recipe = recipe_with(f"model.weights={exported}", FROZEN, *settings)
    start = {name: value.clone() for name, value in built(recipe).model.state_dict().items()}
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    end = weights_after(tmp_path / "whole", recipe)
    frozen = [name for name in start if any(part in name for part in NORMS)]
    assert len(frozen) > 20
    assert [name for name in frozen if not torch.equal(start[name], end[name])] == []
    assert not torch.equal(start["stem.0.weight"], end["stem.0.weight"])
    folder = RunFolder(tmp_path / "stopped")
    train(recipe, folder, MACHINE, stop_after_iteration=3)
    assert train(recipe, folder, MACHINE).weights_sha256 == whole.weights_sha256
    export_run(RunFolder(tmp_path / "whole"), tmp_path / "after.safetensors")
    assert built(recipe_with(f"model.weights={tmp_path / 'after.safetensors'}")).started_from.missing == []


def test_patterns_leave_the_other_statistics_moving(tmp_path, exported):
    recipe = recipe_with(f"model.weights={exported}", 'model.frozen_batch_norm=["stem.*"]', "epochs=1")
    start = {name: value.clone() for name, value in built(recipe).model.state_dict().items()}
    train(recipe, RunFolder(tmp_path / "run"), MACHINE)
    end = weights_after(tmp_path / "run", recipe)
    moved = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert not {name for name in moved if name.startswith("stem.1.")}
    assert "stages.0.0.last_norm.running_mean" in moved


def test_diff_names_it(tmp_path):
    for name, value in (("a", "false"), ("b", "true")):
        recipe = recipe_with("epochs=1", f"model.frozen_batch_norm={value}")
        train(recipe, RunFolder(tmp_path / name), MACHINE, stop_after_iteration=1)
    comparison = compare(read_record(tmp_path / "a"), read_record(tmp_path / "b"))
    assert "model.frozen_batch_norm" in [difference.name for difference in comparison.outside]


@pytest.mark.parametrize("settings", [[FROZEN], ['model.frozen=["stem.*"]'], ['model.frozen=["fc.*"]', FROZEN]])
def test_what_is_verified_is_what_is_trained(exported, settings):
    """The checks have the weights of the file, and nothing that is frozen has a gradient or a mode of its own."""
    recipe = recipe_with(f"model.weights={exported}", *settings)
    state = built(recipe)
    subject = build_subject(recipe, state.data, torch.device("cpu"))
    mine, theirs = subject.model.state_dict(), state.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [p.requires_grad for p in subject.copy().parameters()] == [p.requires_grad for p in state.model.parameters()]
    modes = [module.training for module in state.model.train().modules()]
    assert [module.training for module in subject.copy().train().modules()] == modes
    assert not all(modes)
    assert check_normalisation(subject).is_passed
    assert check_coupling(subject).is_passed


def test_a_missing_file_fails_a_verification_in_one_line():
    recipe = recipe_with("model.weights=nowhere.pt")
    with pytest.raises(InputError, match=r"model\.weights: there is no file nowhere\.pt"):
        build_subject(recipe, built(digits()).data, torch.device("cpu"))


# In a loop of one's own


def test_a_loop_of_one_s_own_moves_no_bit_of_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    bigbatch.freeze_batch_norm(model)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    with bigbatch.Step(
        model, nn.CrossEntropyLoss(reduction="none"), optimizer, minibatch_size=8, worker_minibatch_size=4
    ) as step:
        for _ in range(3):
            model.train()
            step([(torch.randn(4, 4), torch.randint(3, (4,))) for _ in range(2)])
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("1."))
    assert not torch.equal(before["0.weight"], after["0.weight"])


def test_the_default_freezes_nothing():
    assert Model("resnet18").frozen_norms == ()
