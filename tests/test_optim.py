"""Momentum in both forms, the guard, and weight decay."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bigbatch.errors import InputError
from bigbatch.models.resnet import cifar_resnet
from bigbatch.optim.absorbed_rate import correct_momentum
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.groups import weight_decay_groups
from bigbatch.optim.learning_rate import set_learning_rate
from bigbatch.optim.probe import find_absorbed
from bigbatch.recipe import Optimizer
from rate_absorbed import RateAbsorbedSGD


def run(make, rates, *, correct=False):
    """Return the parameter after one update for each rate, with gradients that depend on it."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = make([parameter])
    if correct:
        correct_momentum(optimizer, is_requested=True)
    for rate in rates:
        set_learning_rate(optimizer, rate)
        parameter.grad = parameter.detach().cos()
        optimizer.step()
    return parameter.detach()


def torch_form(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


def absorbed_form(parameters):
    return RateAbsorbedSGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01)


RATES = st.lists(st.floats(1e-3, 0.3), min_size=2, max_size=12)


@settings(deadline=None)
@given(RATES)
def test_precaution_2_the_corrected_absorbed_form_is_torchs_form(rates):
    torch.testing.assert_close(run(absorbed_form, rates, correct=True), run(torch_form, rates), rtol=1e-9, atol=1e-12)


def test_precaution_2_without_correction_the_absorbed_form_goes_wrong_when_the_rate_changes():
    steady, changing = [0.1] * 6, [0.1, 0.1, 0.1, 0.01, 0.01, 0.01]
    torch.testing.assert_close(run(absorbed_form, steady), run(torch_form, steady))
    assert not torch.allclose(run(absorbed_form, changing), run(torch_form, changing), rtol=1e-2)


def test_correcting_torchs_form_would_be_a_bug_so_it_is_left_alone():
    changing = [0.1, 0.1, 0.01, 0.01]
    assert torch.equal(run(torch_form, changing, correct=True), run(torch_form, changing))


@pytest.mark.parametrize(
    "make",
    [
        torch_form,
        lambda p: torch.optim.SGD(p, lr=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adagrad(p, lr=0.1),
        lambda p: torch.optim.NAdam(p, lr=0.1),
    ],
)
def test_torchs_optimizers_do_not_absorb_the_rate(make):
    assert find_absorbed(make([nn.Parameter(torch.randn(3, 2))])).state == frozenset()


class Renamed(RateAbsorbedSGD):
    """The form is recognised by its effect, not by its name."""


def test_the_absorbed_form_is_recognised_by_behaviour_and_the_probe_leaves_no_trace():
    parameter = nn.Parameter(torch.randn(3, 2))
    before = parameter.detach().clone()
    optimizer = Renamed([parameter], lr=0.05, momentum=0.9, weight_decay=0.1)
    assert find_absorbed(optimizer).state == {"momentum_buffer"}
    assert torch.equal(parameter, before)
    assert parameter.grad is None
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 0.05
    with pytest.raises(InputError, match="momentum_correction=true"):
        correct_momentum(optimizer, is_requested=False)


def test_an_optimizer_that_needs_a_closure_is_refused():
    with pytest.raises(InputError, match=r"LBFGS.step\(\) does not work with one dense gradient and no closure"):
        find_absorbed(torch.optim.LBFGS([nn.Parameter(torch.zeros(2))]))


def test_every_group_is_tried_and_a_rate_of_zero_does_no_harm():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [first], "momentum": 0.0}, {"params": [second], "momentum": 0.9}]
    assert find_absorbed(RateAbsorbedSGD(groups, lr=0.1)).state == {"momentum_buffer"}
    assert run(absorbed_form, [0.1, 0.0, 0.1], correct=True).isfinite().all()


def test_the_correction_acts_in_any_loop_that_steps_the_optimizer():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = RateAbsorbedSGD([parameter], lr=1.0, momentum=0.5)
    correct_momentum(optimizer, is_requested=True)
    for rate in (1.0, 0.5):
        set_learning_rate(optimizer, rate)
        parameter.grad = torch.ones(1)
        optimizer.step()
    assert parameter.item() == -(1.0 + 0.5 * (0.5 * 1.0 + 1.0))


def test_the_last_rate_survives_a_resumption():
    rates = [0.1, 0.2, 0.05, 0.05]
    expected = run(absorbed_form, rates, correct=True)
    parameter = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = absorbed_form([parameter])
    for rate in rates:
        resumed = absorbed_form([parameter])
        correct_momentum(resumed, is_requested=True)
        resumed.load_state_dict(optimizer.state_dict())
        set_learning_rate(resumed, rate)
        parameter.grad = parameter.detach().cos()
        resumed.step()
        optimizer = resumed
    assert torch.equal(parameter.detach(), expected)


def names_that_decay(model, **options):
    groups = weight_decay_groups(model, Optimizer(weight_decay=0.5, **options))
    decaying = {id(p) for group in groups if group["weight_decay"] == 0.5 for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    return {name for name, p in model.named_parameters() if id(p) in decaying}


def test_batch_normalisation_and_biases_do_not_decay_unless_the_recipe_says_so():
    model = cifar_resnet(8)
    everything = {name for name, _ in model.named_parameters()}
    weights = {name for name, p in model.named_parameters() if p.ndim > 1}
    norms = {name for name, p in model.named_parameters() if p.ndim == 1} - {"fc.bias"}
    assert names_that_decay(model) == weights
    assert names_that_decay(model, weight_decay_on_biases=True) == weights | {"fc.bias"}
    assert names_that_decay(model, weight_decay_on_norms=True) == weights | norms
    assert names_that_decay(model, weight_decay_on_norms=True, weight_decay_on_biases=True) == everything


@pytest.mark.parametrize(
    "module",
    [nn.RMSNorm(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True)],
)
def test_no_normalisation_decays(module):
    assert names_that_decay(nn.Sequential(module)) == set()


@pytest.mark.parametrize(
    "module", [nn.Linear(4, 4), nn.LSTM(4, 4, bidirectional=True), nn.MultiheadAttention(4, 2, add_bias_kv=True)]
)
def test_no_bias_decays_whatever_a_layer_calls_it(module):
    assert names_that_decay(module) == {name for name, _ in module.named_parameters() if "weight" in name}


def test_unknown_and_wrong_optimizers_are_refused():
    with pytest.raises(InputError, match="unknown optimizer 'adan'; did you mean 'adam'"):
        build_optimizer(Optimizer(name="adan"), nn.Linear(1, 1), 0.1)
    with pytest.raises(InputError, match=r"must return a torch.optim.Optimizer, not dict"):
        build_optimizer(Optimizer(name="builtins:dict", weight_decay=0.1), nn.Linear(1, 1), 0.1)
