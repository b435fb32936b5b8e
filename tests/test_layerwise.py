"""LARS and LAMB: their papers' formulas, and the same bits for any number of processes."""

import copy
import json
import math

import pytest
import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.models.resnet import cifar_resnet
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.groups import layerwise_groups
from bigbatch.optim.layerwise import LAMB, LARS
from bigbatch.optim.probe import find_absorbed
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Optimizer
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

RATES = (0.1, 0.2, 0.05, 0.3)


def norm(values):
    return math.sqrt(sum(value * value for value in values))


def lars_by_hand(w, gradients, *, momentum, nesterov, weight_decay, trust, is_layerwise):
    u = [0.0] * len(w)
    for rate, g in zip(RATES, gradients, strict=True):
        local = trust * norm(w) / (norm(g) + weight_decay * norm(w)) if is_layerwise and norm(w) and norm(g) else 1.0
        d = [local * (gi + weight_decay * wi) for gi, wi in zip(g, w, strict=True)]
        u = [momentum * ui + di for ui, di in zip(u, d, strict=True)]
        w = [
            wi - rate * (di + momentum * ui if nesterov and momentum else ui)
            for wi, di, ui in zip(w, d, u, strict=True)
        ]
    return w


def lamb_by_hand(w, gradients, *, betas, epsilon, weight_decay, is_layerwise):
    (b1, b2), m, v = betas, [0.0] * len(w), [0.0] * len(w)
    for t, (rate, g) in enumerate(zip(RATES, gradients, strict=True), 1):
        m = [b1 * mi + (1 - b1) * gi for mi, gi in zip(m, g, strict=True)]
        v = [b2 * vi + (1 - b2) * gi * gi for vi, gi in zip(v, g, strict=True)]
        u = [
            (mi / (1 - b1**t)) / (math.sqrt(vi / (1 - b2**t)) + epsilon) + weight_decay * wi
            for mi, vi, wi in zip(m, v, w, strict=True)
        ]
        ratio = norm(w) / norm(u) if is_layerwise and norm(w) and norm(u) else 1.0
        w = [wi - rate * ratio * ui for wi, ui in zip(w, u, strict=True)]
    return w


def stepped(make, w, gradients, rates=RATES):
    parameter = nn.Parameter(torch.tensor(w, dtype=torch.float64))
    optimizer = make([parameter])
    for rate, g in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
    return parameter.tolist()


WEIGHTS = ([3.0, -4.0, 0.5], [0.0, 0.0, 0.0])
GRADIENTS = ([0.1, 2.0, -0.3], [0.0, 0.0, 0.0], [1e3, 1.0, 2.0], [-1e-3, 2e-3, 0.0])
LARS_SETTINGS = [
    {"momentum": 0.9, "nesterov": False, "weight_decay": 0.01, "trust": 0.1},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0, "trust": 0.001},
    {"momentum": 0.0, "nesterov": False, "weight_decay": 0.1, "trust": 1.0},
]
LAMB_SETTINGS = [
    {"betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.01},
    {"betas": (0.0, 0.5), "epsilon": 0.1, "weight_decay": 0.0},
]


@pytest.mark.parametrize("is_layerwise", [True, False])
@pytest.mark.parametrize("w", WEIGHTS)
def test_they_are_their_papers_formulas(w, is_layerwise):
    for kind, by_hand, all_settings in ((LARS, lars_by_hand, LARS_SETTINGS), (LAMB, lamb_by_hand, LAMB_SETTINGS)):
        for settings in all_settings:

            def make(parameters, kind=kind, settings=settings):
                return kind([{"params": parameters, "is_layerwise": is_layerwise}], lr=1.0, **settings)

            expected = by_hand(w, GRADIENTS, **settings, is_layerwise=is_layerwise)
            assert stepped(make, w, GRADIENTS) == pytest.approx(expected, rel=1e-12)


def test_without_a_rate_of_its_own_a_layer_takes_torchs_update():
    def plain(kind, **settings):
        return lambda parameters: kind([{"params": parameters, "is_layerwise": False}], lr=1.0, **settings)

    for nesterov in (False, True):
        settings = {"momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.1}
        expected = stepped(lambda p, s=settings: torch.optim.SGD(p, lr=1.0, **s), WEIGHTS[0], GRADIENTS)
        assert stepped(plain(LARS, **settings), WEIGHTS[0], GRADIENTS) == pytest.approx(expected, rel=1e-12)
    expected = stepped(lambda p: torch.optim.AdamW(p, lr=1.0, weight_decay=0.0), WEIGHTS[0], GRADIENTS)
    assert stepped(plain(LAMB), WEIGHTS[0], GRADIENTS) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_the_size_of_the_loss_does_not_change_an_update(kind):
    """Without decay (arXiv 1708.03888, section 4; arXiv 1904.00962, section 3)."""

    def make(parameters):
        return kind(parameters, lr=1.0)

    moves = [stepped(make, WEIGHTS[0], [[size * g for g in gs] for gs in GRADIENTS]) for size in (1.0, 1e3)]
    assert moves[0] == pytest.approx(moves[1], rel=1e-4)
    one_step = stepped(make, WEIGHTS[0], GRADIENTS[:1], RATES[:1])
    trust = 0.001 if kind is LARS else 1.0
    assert norm([a - b for a, b in zip(one_step, WEIGHTS[0], strict=True)]) == pytest.approx(
        RATES[0] * trust * norm(WEIGHTS[0])
    )


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_the_place_of_the_gradients_does_not_change_a_bit(kind):
    def trained(offset):
        torch.manual_seed(0)
        parameters = [nn.Parameter(torch.randn(size)) for size in (1, 7, 100, 1000)]
        optimizer = kind(parameters, lr=0.1, weight_decay=0.01)
        for _ in range(3):
            buffer = torch.cat([torch.zeros(offset), *(torch.randn(p.numel()) for p in parameters)])
            for parameter, view in zip(parameters, buffer[offset:].split([1, 7, 100, 1000]), strict=True):
                parameter.grad = view
            optimizer.step()
        return torch.cat([parameter.detach() for parameter in parameters])

    assert all(torch.equal(trained(offset), trained(0)) for offset in (1, 3, 8, 13))


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_their_state_goes_on_where_it_was_saved(kind):
    torch.manual_seed(0)
    gradients = torch.randn(4, 5)

    def take(parameter, optimizer, which):
        for i in which:
            parameter.grad = gradients[i]
            optimizer.step()

    parameter = nn.Parameter(torch.ones(5))
    optimizer = kind([parameter], lr=0.1, weight_decay=0.1)
    take(parameter, optimizer, (0, 1))
    again = nn.Parameter(parameter.detach().clone())
    resumed = kind([again], lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    take(parameter, optimizer, (2, 3))
    take(again, resumed, (2, 3))
    assert torch.equal(parameter, again)


@pytest.mark.parametrize("kind", [LARS, LAMB])
def test_a_parameter_without_a_gradient_stays_and_a_sparse_gradient_is_refused(kind):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = kind([used, unused], lr=0.1)
    assert optimizer.step() is None
    used.grad = torch.ones(2)
    optimizer.step()
    assert unused.tolist() == [1.0, 1.0]
    assert unused not in optimizer.state
    assert used.tolist() != [1.0, 1.0]
    unused.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step()
    assert unused.tolist() != [1.0, 1.0]
    used.grad = torch.ones(2).to_sparse()
    with pytest.raises(InputError, match="no sparse gradients"):
        optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars", "lamb"])
def test_every_named_optimizer_can_be_built_and_absorbs_no_rate(name):
    model = cifar_resnet(8)
    optimizer = build_optimizer(Optimizer(name=name, weight_decay=0.1), model, 0.1)
    assert type(optimizer).__name__.lower() == name
    assert find_absorbed(optimizer).state == frozenset()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_what_does_not_decay_has_no_rate_of_its_own_also_where_nothing_decays():
    for decay in (0.1, 0.0):
        layerwise, plain = layerwise_groups(cifar_resnet(8), Optimizer(name="lars", weight_decay=decay))
        assert (layerwise["is_layerwise"], plain["is_layerwise"]) == (True, False)
        assert (layerwise["weight_decay"], plain["weight_decay"]) == (decay, 0.0)
        assert all(parameter.ndim > 1 for parameter in layerwise["params"])
        assert all(parameter.ndim == 1 for parameter in plain["params"])


ITERATIONS = 4
SHORT = ["minibatch_size=96", "epochs=1", "model.width=4", "warmup.kind=none"]
TRAINED = {
    "lars": ["optimizer.name=lars", "optimizer.trust=0.02", "average.decay=0.9"],
    "lamb": ["optimizer.name=lamb", "scaling.rule=square-root", "average.decay=0.9"],
    "adamw": ["optimizer.name=adamw", "scaling.rule=square-root", "scaling.weight_decay=timescale"],
    "adam": ["optimizer.name=adam", "scaling.rule=none", "optimizer.weight_decay=0"],
}


def test_three_processes_give_the_bits_of_one(group, tmp_path):
    recipes = {name: [*SHORT, *settings] for name, settings in TRAINED.items()}
    machine = Machine(Processes(), torch.device("cpu"), threads=1)
    for name, settings in recipes.items():
        train(
            with_settings(digits(), settings),
            RunFolder(tmp_path / "1" / name),
            machine,
            stop_after_iteration=ITERATIONS,
        )
    group("train_law.py", 3, tmp_path / "3", json.dumps(recipes), ITERATIONS)
    for name in recipes:
        runs = [RunFolder(tmp_path / str(p) / name).read_summary() for p in (1, 3)]
        kept = ("iterations", "weights_sha256", "average_sha256")
        results = [[getattr(run, key) for key in kept] for run in runs]
        assert results[0] == results[1]
        assert results[0][0] == ITERATIONS
        assert (runs[0].average_sha256 is not None) == (name in {"lars", "lamb"})
