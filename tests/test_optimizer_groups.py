"""Parameter groups with rates of their own: one call sets the rate of all, and each keeps its ratio."""

import json
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.inner_optimizers import check_saves_all
from bigbatch.optim.learning_rate import note_ratios
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Optimizer
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SCHEDULE = (0.05, 0.4, 0.0, 0.1)


def parameters(count=3):
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


def rates(optimizer):
    return [float(group["lr"]) for group in optimizer.param_groups]


def head_faster(frozen_rate=0.0):
    body, head, frozen = parameters()
    groups = [{"params": [body]}, {"params": [head], "lr": 1.0}, {"params": [frozen], "lr": frozen_rate}]
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def test_groups_keep_their_ratio_at_any_rate_and_a_group_at_zero_stays_there():
    optimizer = head_faster()
    for rate in SCHEDULE:
        bigbatch.set_learning_rate(optimizer, rate)
        assert rates(optimizer) == pytest.approx([rate, 10 * rate, 0.0])


@pytest.mark.parametrize("rate", SCHEDULE)
def test_the_ratio_survives_a_resumption_at_any_place_of_the_schedule(rate):
    optimizer, resumed = head_faster(), head_faster()
    bigbatch.set_learning_rate(optimizer, rate)
    resumed.load_state_dict(optimizer.state_dict())
    bigbatch.set_learning_rate(resumed, 0.3)
    assert rates(resumed) == pytest.approx([0.3, 3.0, 0.0])


def test_a_group_that_comes_later_is_relative_to_the_rate_that_the_optimizer_was_made_with():
    optimizer = head_faster()
    bigbatch.set_learning_rate(optimizer, 0.05)
    late, later = parameters(2)
    optimizer.add_param_group({"params": [late], "lr": 0.2})
    optimizer.add_param_group({"params": [later]})
    bigbatch.set_learning_rate(optimizer, 0.02)
    assert rates(optimizer) == pytest.approx([0.02, 0.2, 0.0, 0.04, 0.02])


def test_one_rate_for_all_groups_is_no_ratio_whatever_it_is():
    optimizer = torch.optim.SGD([{"params": [p], "lr": 0.3} for p in parameters()])
    bigbatch.set_learning_rate(optimizer, 0.1)
    assert rates(optimizer) == pytest.approx([0.1] * 3)
    started_at_zero = torch.optim.SGD(parameters(), lr=0.0)
    bigbatch.set_learning_rate(started_at_zero, 0.1)
    assert rates(started_at_zero) == pytest.approx([0.1])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor_one_for_each_group():
    body, head = parameters(2)
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam([{"params": [body]}, {"params": [head], "lr": torch.tensor(1.0)}], lr=rate)
    tensors = [group["lr"] for group in optimizer.param_groups]
    bigbatch.set_learning_rate(optimizer, 0.05)
    assert all(group["lr"] is tensor for group, tensor in zip(optimizer.param_groups, tensors, strict=True))
    assert rates(optimizer) == pytest.approx([0.05, 0.5])
    shared = torch.optim.Adam(
        [{"params": [p], "lr_scale": s} for p, s in zip(parameters(2), (1, 3), strict=True)], rate
    )
    bigbatch.set_learning_rate(shared, 0.25)
    assert rates(shared) == pytest.approx([0.25, 0.75])


def test_timms_layer_decay_and_a_scheduler_of_torchs_are_understood():
    groups = [{"params": [p], "lr_scale": 0.5**depth} for depth, p in enumerate(parameters())]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    bigbatch.set_learning_rate(optimizer, 0.2)
    assert rates(optimizer) == pytest.approx([0.2, 0.1, 0.05])
    scheduled = head_faster()
    torch.optim.lr_scheduler.LinearLR(scheduled, start_factor=0.01)  # it lowers the rates when it is made
    bigbatch.set_learning_rate(scheduled, 0.05)
    assert rates(scheduled) == pytest.approx([0.05, 0.5, 0.0])


def test_rates_that_are_relative_to_nothing_known_are_refused():
    body, head = parameters(2)
    optimizer = torch.optim.SGD([{"params": [body], "lr": 0.05}, {"params": [head], "lr": 0.5}])
    with pytest.raises(InputError, match=r"rates of their own \(0.05, 0.5\).* give it lr="):
        bigbatch.set_learning_rate(optimizer, 0.05)
    note_ratios(optimizer, 0.05)
    bigbatch.set_learning_rate(optimizer, 0.1)
    assert rates(optimizer) == pytest.approx([0.1, 1.0])
    optimizer.param_groups[0].update(lr=None, lr_scale=1.0)
    del (
        optimizer.param_groups[0]["base_lr"],
        optimizer.param_groups[1]["base_lr"],
        optimizer.param_groups[1]["lr_scale"],
    )
    optimizer.param_groups[1]["lr"] = None
    with pytest.raises(InputError, match="a parameter group has the rate None"):
        bigbatch.set_learning_rate(optimizer, 0.1)


class Two(torch.optim.Optimizer):
    """Two optimizers behind one, as people write it."""

    def __init__(self, first, second, lr=0.01, factor=3.0):
        self.inner = [torch.optim.SGD(first, lr=lr, momentum=0.9), torch.optim.AdamW(second, lr=factor * lr)]
        super().__init__([{"params": first}, {"params": second}], {"lr": lr})

    def step(self, _closure=None):
        for optimizer in self.inner:
            optimizer.step()


class TwoThatSave(Two):
    def state_dict(self):
        return {"inner": [optimizer.state_dict() for optimizer in self.inner]}

    def load_state_dict(self, state_dict):
        for optimizer, state in zip(self.inner, state_dict["inner"], strict=True):
            optimizer.load_state_dict(state)


@pytest.mark.parametrize("kind", [Two, TwoThatSave])
def test_the_groups_of_optimizers_within_an_optimizer_follow_and_their_state_is_looked_for(kind):
    first, second = parameters(2)
    optimizer = kind([first], [second])
    bigbatch.correct_momentum(optimizer, is_requested=False)
    bigbatch.set_learning_rate(optimizer, 0.1)
    assert rates(optimizer.inner[0]) == pytest.approx([0.1])
    assert rates(optimizer.inner[1]) == pytest.approx([0.3])
    first.grad, second.grad = torch.ones(2), torch.ones(2)
    optimizer.step()
    assert first.tolist() == pytest.approx([0.9, 0.9])
    refusal = nullcontext() if kind is TwoThatSave else pytest.raises(InputError, match="lacks the state of the SGD")
    with refusal:
        check_saves_all(optimizer)


class OwnRate(torch.optim.SGD):
    """Reads the rate from an attribute."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.lr = lr

    def step(self, _closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.data.sub_(self.lr * parameter.grad)


class InClosure(torch.optim.SGD):
    """Hides the optimizer that does the work."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        inner = torch.optim.SGD(parameters, lr=lr)
        self.work = lambda: inner.step(None)

    def step(self, _closure=None):
        self.work()


@pytest.mark.parametrize("make", [OwnRate, InClosure, torch.optim.Rprop])
def test_a_rate_that_is_kept_elsewhere_is_noticed_where_it_is_set(make):
    weight = nn.Parameter(torch.ones(2))
    optimizer = make([weight], lr=0.1)
    weight.grad = torch.ones(2)
    bigbatch.correct_momentum(optimizer, is_requested=False)  # a steady rate is right
    with pytest.raises(InputError, match=f"{make.__name__} does not follow the rate in its parameter groups"):
        bigbatch.set_learning_rate(optimizer, 0.05)
    assert weight.tolist() == [1.0, 1.0]
    assert weight.grad.tolist() == [1.0, 1.0]


def test_eq_10_is_corrected_in_each_group_by_its_own_rate():
    from rate_absorbed import RateAbsorbedSGD

    def train(kind):
        body, head = parameters(2)
        optimizer = kind([{"params": [body]}, {"params": [head], "lr": 1.0}], lr=0.1, momentum=0.9)
        bigbatch.correct_momentum(optimizer, is_requested=True)
        for rate in (0.1, 0.1, 0.02, 0.3):
            bigbatch.set_learning_rate(optimizer, rate)
            body.grad, head.grad = body.detach().cos(), head.detach().cos()
            optimizer.step()
        return torch.cat([body.detach(), head.detach()])

    torch.testing.assert_close(train(RateAbsorbedSGD), train(torch.optim.SGD))


PROGRAM = """
import torch
def faster(groups, lr):
    parameters = [p for group in groups for p in group["params"]]
    return torch.optim.SGD([{"params": parameters[:2]}, {"params": parameters[2:], "lr": 10 * lr}], lr=lr, momentum=0.9)
"""


def test_a_callable_of_the_users_keeps_the_ratio_and_is_given_no_decay_that_nobody_set(tmp_path, monkeypatch):
    (tmp_path / "own_groups.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    optimizer = build_optimizer(Optimizer("own_groups:faster"), model, 0.05)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0, 0]
    bigbatch.set_learning_rate(optimizer, 0.4)
    assert rates(optimizer) == pytest.approx([0.4, 4.0])


WATCHED = """
class Watched(torch.optim.SGD):
    def step(self, closure=None):
        if self.param_groups[0]["lr"] > 0.01:  # no trial on scratch parameters
            with open("seen.txt", "a") as file:
                print(*(group["lr"] for group in self.param_groups), file=file)
        super().step(closure)

def watched(groups, lr):
    made = faster(groups, lr)
    return Watched(made.param_groups, lr=lr, momentum=0.9)
"""


def test_a_training_keeps_them_over_a_resumption_and_shows_the_recipes_rate(tmp_path, monkeypatch):
    (tmp_path / "own_groups.py").write_text(PROGRAM + WATCHED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_groups", raising=False)
    recipe = with_settings(digits(), ["minibatch_size=256", "epochs=4", "optimizer.name=own_groups:watched"])
    for last in (7, 12):
        train(recipe, RunFolder(tmp_path / "run"), MACHINE, stop_after_iteration=last)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shown = [line["learning_rate"] for line in lines if "learning_rate" in line]
    seen = [[float(rate) for rate in line.split()] for line in (tmp_path / "seen.txt").read_text().splitlines()]
    assert len(set(shown)) == 12
    assert seen == [pytest.approx([rate, 10 * rate]) for rate in shown]
