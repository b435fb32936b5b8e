"""The trial of an optimizer on scratch parameters: it finds what absorbs the rate, and leaves no trace."""

import copy
import threading

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.optim.probe import Absorbed, check_follows_rate, find_absorbed, try_updates
from bigbatch.recipe import Data, Optimizer
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from rate_absorbed import RateAbsorbedSGD

NONE = Absorbed()


class Model(nn.Module):
    """Matrices, vectors and a single number."""

    def __init__(self):
        super().__init__()
        self.body, self.head, self.scale = nn.Linear(6, 8), nn.Linear(8, 3), nn.Parameter(torch.tensor(1.0))

    def forward(self, inputs):
        return self.head(self.body(inputs).relu()) * self.scale


def of_torch(name, **options):
    def make(model):
        parameters = [p for p in model.parameters() if name != "Muon" or p.ndim > 1]
        return getattr(torch.optim, name)(parameters, **{"lr": 1e-2, **options})

    return pytest.param(make, id=f"{name}-{'-'.join(options)}")


NAMES = ("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")
MAKERS = [
    *map(of_torch, [*NAMES, "Adafactor", *(["Muon"] if hasattr(torch.optim, "Muon") else [])]),
    of_torch("SGD", momentum=0.9, nesterov=True),
    of_torch("SGD", momentum=0.9, dampening=0.5, maximize=True),
    of_torch("ASGD", lambd=0.1),
    of_torch("AdamW", fused=True),
    of_torch("AdamW", amsgrad=True, foreach=True),
    of_torch("Adam", lr=torch.tensor(1e-2), foreach=False),
    of_torch("RMSprop", momentum=0.9, centered=True),
]


@pytest.mark.parametrize("make", MAKERS)
def test_every_optimizer_of_torch_gives_in_a_step_what_it_gives_in_plain_float64(make):
    torch.manual_seed(0)
    model, plain = Model(), Model().double()
    plain.load_state_dict(model.state_dict())
    optimizer, its = make(model), make(plain)
    before = copy.deepcopy(optimizer.state_dict())
    inputs, targets = torch.randn(16, 6), torch.arange(16) % 3
    loss = nn.CrossEntropyLoss(reduction="none")
    step = bigbatch.Step(model, loss, optimizer, minibatch_size=16, worker_minibatch_size=4)
    assert str(optimizer.state_dict()) == str(before)
    for _ in range(4):
        step([(inputs[4 * worker : 4 * worker + 4], targets[4 * worker : 4 * worker + 4]) for worker in step.workers])
        its.zero_grad()
        loss(plain(inputs.double()), targets).mean().backward()
        its.step()
    for mine, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=0, atol=2e-6)


class Closure(torch.optim.SGD):
    """As sharpness-aware minimisation has it."""

    def step(self, closure=None):
        assert closure is not None, "SAM requires a closure"


class NeedsKey(torch.optim.SGD):
    def step(self, _closure=None):
        raise KeyError(self)


@pytest.mark.parametrize("kind", [torch.optim.LBFGS, torch.optim.SparseAdam, Closure, NeedsKey])
def test_what_takes_no_dense_gradient_or_wants_a_closure_is_refused_in_a_line(kind):
    with pytest.raises(InputError, match=rf"{kind.__name__}.step\(\) does not work with one dense gradient") as refusal:
        bigbatch.correct_momentum(kind([nn.Parameter(torch.zeros(2))], lr=0.1), is_requested=False)
    assert "\n" not in str(refusal.value)


class Everything(torch.optim.SGD):
    """Has what people give to optimizers: the model, a lock, a closure, an inner optimizer, tensors of all shapes."""

    def __init__(self, model):
        super().__init__(model.parameters(), lr=0.1)
        self.model, self.lock, self.inner = model, threading.Lock(), [torch.optim.SGD(model.parameters(), lr=0.1)]
        self.slow = [p.detach().clone() for p in model.parameters()]
        self.generator, self.count = torch.Generator(), {"steps": 0}
        self.do = lambda: self.inner[0].step(None)

    def __deepcopy__(self, memo):
        raise TypeError(memo)

    @torch.no_grad()
    def step(self, _closure=None):
        with self.lock:
            self.count["steps"] += 1
            torch.rand(2, generator=self.generator)
            torch.rand(2)
            for parameter, slow in zip(self.model.parameters(), self.slow, strict=True):
                slow.lerp_(parameter, 0.5)
            self.do()


def test_an_optimizer_of_any_make_is_tried_and_left_as_it_is():
    model = Model()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer = Everything(model)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    weights, gradients = [p.detach().clone() for p in model.parameters()], [p.grad for p in model.parameters()]
    state, drawn = optimizer.generator.get_state(), torch.get_rng_state()
    assert find_absorbed(optimizer) == NONE
    check_follows_rate(optimizer)
    assert (calls, optimizer.count, optimizer.state) == ([], {"steps": 0}, {})
    assert optimizer.param_groups[0]["lr"] == optimizer.inner[0].param_groups[0]["lr"] == 0.1
    assert torch.equal(state, optimizer.generator.get_state())
    assert torch.equal(drawn, torch.get_rng_state())
    for parameter, slow, weight, gradient in zip(model.parameters(), optimizer.slow, weights, gradients, strict=True):
        assert torch.equal(parameter, weight)
        assert torch.equal(slow, weight)
        assert parameter.grad is gradient


def test_an_optimizer_in_the_hands_of_a_scheduler_of_torchs_is_tried_too():
    weight = nn.Parameter(torch.ones(2))
    optimizer = RateAbsorbedSGD([weight], lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 3)  # it puts a `step` of its own into the optimizer
    assert find_absorbed(optimizer).state == {"momentum_buffer"}
    assert weight.tolist() == [1.0, 1.0]


def test_a_trained_optimizer_is_tried_from_a_fresh_state():
    weight = nn.Parameter(torch.ones(2))
    for kind, found in ((torch.optim.Adagrad, frozenset()), (RateAbsorbedSGD, {"momentum_buffer"})):
        optimizer = kind([weight], lr=0.1)
        weight.grad = torch.ones(2)
        optimizer.step()
        before = copy.deepcopy(optimizer.state_dict())
        assert find_absorbed(optimizer).state == found
        assert str(optimizer.state_dict()) == str(before)


class InAttribute(RateAbsorbedSGD):
    """Keeps its velocity beside the state."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.velocity = [torch.zeros_like(p) for p in self.param_groups[0]["params"]]

    @torch.no_grad()
    def step(self, _closure=None):
        for parameter, velocity in zip(self.param_groups[0]["params"], self.velocity, strict=True):
            velocity.mul_(0.9).add_(parameter.grad, alpha=self.param_groups[0]["lr"])
            parameter.sub_(velocity)


class NormalisedByRates(torch.optim.Optimizer):
    """As LaProp: it divides the absorbed rates by their average, so that the correction would be wrong."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, _closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                mean = state.setdefault("mean", torch.zeros_like(p)).mul_(0.9).add_(p.grad, alpha=0.1 * group["lr"])
                state["rates"] = 0.9 * state.get("rates", 0.0) + 0.1 * group["lr"]
                p.sub_(mean * group["lr"] / state["rates"])


@pytest.mark.parametrize(("kind", "name"), [(InAttribute, "velocity"), (NormalisedByRates, "mean")])
def test_what_absorbs_the_rate_where_no_correction_is_right_is_refused_also_with_one(kind, name):
    for is_requested in (True, False):
        with pytest.raises(InputError, match=f"absorbs the learning rate into '{name}.*it cannot be corrected"):
            bigbatch.correct_momentum(kind([nn.Parameter(torch.zeros(3))], lr=0.1), is_requested=is_requested)


class ScheduleFree(torch.optim.Optimizer):
    """Defazio et al. 2024: the sequence z is no momentum, though it is made of all rates."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr, "k": 0})

    @torch.no_grad()
    def step(self, _closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for p in group["params"]:
                z = self.state[p].setdefault("z", p.detach().clone())
                p.lerp_(z, 1 / group["k"]).sub_(p.grad, alpha=group["lr"] * 0.1)
                z.sub_(p.grad, alpha=group["lr"])


class DualAveraging(torch.optim.Optimizer):
    """As MADGRAD: the sum of all gradients, each times its rate."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, _closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                start = self.state[p].setdefault("start", p.detach().clone())
                total = self.state[p].setdefault("sum", torch.zeros_like(p)).add_(p.grad, alpha=group["lr"])
                p.lerp_(start - total, 0.1)


class Lookahead(torch.optim.Optimizer):
    """Zhang et al. 2019, as timm has it: around another optimizer, whose groups it shares."""

    def __init__(self, base):
        self.base, self.param_groups, self.defaults, self.count = base, base.param_groups, base.defaults, 0
        self.state, self.slow = {}, {}

    @torch.no_grad()
    def step(self, _closure=None):
        self.base.step()
        self.count += 1
        for p in self.param_groups[0]["params"]:
            slow = self.slow.setdefault(p, p.detach().clone())
            if self.count % 2 == 0:
                p.copy_(slow.lerp_(p, 0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda p: ScheduleFree(p, lr=0.1),
        lambda p: DualAveraging(p, lr=0.1),
        lambda p: Lookahead(torch.optim.SGD(p, lr=0.1, momentum=0.9)),
        lambda p: Lookahead(torch.optim.AdamW(p, lr=torch.tensor(0.1))),
    ],
)
def test_averages_and_sums_of_weights_are_no_momentum(make):
    optimizer = make([nn.Parameter(torch.ones(3, 2))])
    assert find_absorbed(optimizer) == NONE
    check_follows_rate(optimizer)


def test_absorbed_momentum_is_found_within_other_optimizers():
    optimizer = Lookahead(RateAbsorbedSGD([nn.Parameter(torch.ones(2))], lr=0.1))
    assert find_absorbed(optimizer).state == {"momentum_buffer"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_parameters_of_any_precision_and_size_are_tried(dtype):
    parameters = [nn.Parameter(torch.ones(size, dtype=dtype)) for size in ((), (3,), (0,), (2, 3, 4))]
    assert find_absorbed(RateAbsorbedSGD(parameters, lr=0.1)).state == {"momentum_buffer"}
    assert find_absorbed(torch.optim.SGD(parameters, lr=0.1, momentum=0.9)) == NONE
    assert len(try_updates(torch.optim.SGD(parameters, lr=0.1), [(0.5, 1.0)]).moves[0]) == 4


@pytest.mark.parametrize(
    ("written", "meant"), [("AdamW", "adamw"), ("SGD", "sgd"), ("LAMB", "lamb"), ("Adam_W", "adamw")]
)
def test_capitals_do_not_hide_the_nearest_name(written, meant):
    with pytest.raises(InputError, match=f"unknown optimizer '{written}'; did you mean '{meant}'"):
        Optimizer(written)


def test_capitals_do_not_hide_the_other_names_of_a_recipe():
    for setting, meant in (
        ("schedule.kind=Cosine", "cosine"),
        ("model.name=CIFAR_ResNet20", "cifar-resnet20"),
        ("scaling.rule=AdaScale", "adascale"),
        ("scaling.rule=Square_Root", "square-root"),
        ("Optimizer.name=sgd", "optimizer"),
        ("optimizer.Weight_Decay=0", "weight_decay"),
        ("loss=Cross_Entropy", "cross-entropy"),
    ):
        with pytest.raises(InputError, match=f"did you mean '{meant}'"):
            with_settings(digits(), [setting])
    with pytest.raises(InputError, match="did you mean 'cifar10'"):
        load_data(Data("CIFAR10"))
