"""Batch normalisation over groups within a worker: what as many workers of the groups' size compute."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bigbatch
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.models.ghost_batch_norm import group_batch_norm
from bigbatch.planning.plan import Plan
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.step.step import Step
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.trainer import train
from bigbatch.verification.checks.coupling import check_coupling
from bigbatch.verification.checks.normalisation import check_normalisation
from bigbatch.verification.subject import build_subject
from test_freezing import MACHINE

LOSS = nn.CrossEntropyLoss(reduction="none")


class Net(nn.Module):
    """A norm of each number of dimensions."""

    def __init__(self, **options) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.images, self.volume = nn.BatchNorm2d(2, **options), nn.BatchNorm3d(1, **options)
        self.features = nn.BatchNorm1d(8, **options)
        self.linear = nn.Linear(8, 3)

    def forward(self, x):
        x = self.volume(self.images(x.view(-1, 2, 2, 2)).view(-1, 1, 2, 2, 2))
        return self.linear(self.features(x.flatten(1)))


def after_steps(model, *, n, dtype=torch.float64, steps=2):
    """Return losses, gradients, weights and buffers after some steps of 48 samples in workers of n."""
    model = model.to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = Step(model, LOSS, optimizer, minibatch_size=48, worker_minibatch_size=n)
    generator = torch.Generator().manual_seed(1)
    found = {}
    for number in range(steps):
        inputs = torch.randn(48, 8, generator=generator, dtype=torch.float64).to(dtype)
        loss = step(list(zip(inputs.split(n), (torch.arange(48) % 3).split(n), strict=True)))
        found |= {f"loss {number}": loss}
        found |= {f"gradient {number} {name}": p.grad.clone() for name, p in model.named_parameters()}
    return found | model.state_dict()


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([2, 3, 4, 6]), st.sampled_from([1, 2, 4]), st.sampled_from([0.1, 0.5, None]), st.booleans())
def test_groups_of_a_worker_are_workers_of_that_size(group, groups, momentum, affine):
    options = {"momentum": momentum, "affine": affine}
    grouped = Net(**options)
    group_batch_norm(grouped, group=group, samples=group * groups)
    together, apart = after_steps(grouped, n=group * groups), after_steps(Net(**options), n=group)
    assert together.keys() == apart.keys()
    for name, value in apart.items():
        is_summed_in_single = name.startswith("loss")
        rtol = 1e-6 if is_summed_in_single else 1e-9
        torch.testing.assert_close(together[name], value, rtol=rtol, atol=1e-11, msg=name)


def test_in_single_precision_they_are_so_but_for_rounding_and_whole_workers_are_not():
    grouped = Net()
    group_batch_norm(grouped, group=4, samples=12)
    together, apart = (after_steps(m, n=n, dtype=torch.float32) for m, n in ((grouped, 12), (Net(), 4)))
    for name, value in apart.items():
        torch.testing.assert_close(together[name], value, rtol=2e-4, atol=2e-6, msg=name)
    whole = after_steps(Net(), n=12, dtype=torch.float32)
    assert (whole["features.running_var"] - apart["features.running_var"]).abs().max() > 1e-3


def test_one_group_is_the_plain_normalisation_to_the_bit():
    grouped = Net()
    group_batch_norm(grouped, group=12, samples=12)
    together, plain = after_steps(grouped, n=12, dtype=torch.float32), after_steps(Net(), n=12, dtype=torch.float32)
    assert all(torch.equal(together[name], plain[name]) for name in plain)


def test_evaluation_names_and_copies_stay_as_they_were():
    model, grouped = Net(), Net()
    assert group_batch_norm(grouped, group=2, samples=6) == ["images", "volume", "features"]
    assert grouped.state_dict().keys() == model.state_dict().keys()
    inputs = torch.randn(5, 8)
    assert torch.equal(grouped.eval()(inputs), model.eval()(inputs))
    pickled = pickle.loads(pickle.dumps(grouped))  # noqa: S301 - our own
    for other in (copy.deepcopy(grouped), pickled):
        assert torch.equal(other.train()(inputs.repeat(2, 1)[:6]), grouped.train()(inputs.repeat(2, 1)[:6]))
    assert group_batch_norm(grouped, group=3, samples=6) == ["images", "volume", "features"]  # again, otherwise


def test_without_running_statistics_each_group_is_normalised_by_its_own():
    norm = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))
    group_batch_norm(norm, group=2, samples=4)
    inputs = torch.randn(4, 3)
    alone = nn.BatchNorm1d(3, track_running_stats=False)
    assert torch.equal(norm(inputs), torch.cat([alone(part) for part in inputs.split(2)]))


def test_frozen_normalisations_stay_as_they_are():
    model = Net()
    bigbatch.freeze_batch_norm(model, ["images"])
    assert bigbatch.group_batch_norm(model, group=2, samples=6) == ["volume", "features"]
    assert type(model.images) is nn.BatchNorm2d


class Own(nn.BatchNorm2d):
    """Another's normalisation, such as one with an activation."""


@pytest.mark.parametrize(
    ("model", "group", "message"),
    [
        (nn.Linear(2, 2), 2, "the model has no batch normalisation that trains"),
        (nn.Sequential(Own(2)), 2, "'0' is a Own"),
        (nn.Sequential(nn.SyncBatchNorm(2)), 2, "'0' is a SyncBatchNorm"),
        (Net(), 4, "groups of 4 do not divide a worker's 6 samples"),
        (Net(), 0, "groups of 0 do not divide"),
    ],
)
def test_what_cannot_be_grouped_is_said(model, group, message):
    with pytest.raises(InputError, match=f"model.norm_group: .*{message}"):
        group_batch_norm(model, group=group, samples=6)


@pytest.mark.parametrize("rows", [3, 7, 12])
def test_rows_that_are_not_the_samples_are_refused(rows):
    model = nn.Sequential(nn.BatchNorm1d(8))
    group_batch_norm(model, group=2, samples=6)
    with pytest.raises(InputError, match=f"given {rows} rows for 6 samples"):
        model(torch.randn(rows, 8))


GROUPED = ["worker_minibatch_size=32", "minibatch_size=64", "epochs=1", "model.norm_group=16", "model.width=4"]


def test_a_recipe_trains_in_groups_resumes_to_the_bit_and_exports_plain_names(tmp_path):
    recipe = with_settings(digits(), GROUPED)
    assert from_toml(to_toml(recipe)) == recipe
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    train(recipe, RunFolder(tmp_path / "parts"), MACHINE, stop_after_iteration=5)
    parts = train(recipe, RunFolder(tmp_path / "parts"), MACHINE)
    plain = train(with_settings(recipe, ["model.norm_group=0"]), RunFolder(tmp_path / "plain"), MACHINE)
    assert whole.weights_sha256 == parts.weights_sha256 != plain.weights_sha256
    weights = build_recipe_model(recipe, num_classes=10, in_channels=1).state_dict()
    assert weights.keys() == build_recipe_model(digits(), num_classes=10, in_channels=1).state_dict().keys()


def test_a_recipe_whose_groups_do_not_divide_a_worker_is_refused():
    with pytest.raises(InputError, match=r"groups of 5 do not divide a worker's 16 samples; choose a divisor"):
        with_settings(digits(), ["model.norm_group=5"])
    with pytest.raises(InputError, match=r"model.norm_group"):
        with_settings(digits(), ["model.norm_group=-1"])


def test_a_plan_shows_the_groups():
    rows = {row.name: row for row in Plan(with_settings(digits(), GROUPED), 1280).rows()}
    assert (rows["norm_group"].before, rows["norm_group"].after) == ("16", "16")
    assert all(word in rows["norm_group"].rule for word in ("arXiv 1705.08741", "1706.02677, section 2.3", "it pays"))
    assert "2 groups" in rows["worker_minibatch_size"].rule
    large = with_settings(digits(), ["minibatch_size=128", "worker_minibatch_size=64", "model.norm_group=32"])
    at_reference = {row.name: row.before for row in Plan(large, 1280).rows()}
    assert (at_reference["worker_minibatch_size"], at_reference["norm_group"]) == ("16", "")
    assert "norm_group" not in {row.name for row in Plan(digits(), 1280).rows()}


def test_verification_passes_with_groups():
    recipe = with_settings(digits(), GROUPED)
    subject = build_subject(recipe, load_data(recipe.data), MACHINE.device)
    assert check_normalisation(subject).is_passed
    assert check_coupling(subject).is_passed
