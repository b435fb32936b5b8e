"""Batch normalisation's buffers lie side by side while a model trains; what its user does with them is unaffected."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from bigbatch.errors import InputError
from bigbatch.step.step import Step

LOSS = nn.CrossEntropyLoss(reduction="none")


class Net(nn.Module):
    """Three norms of different widths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.BatchNorm1d(5), nn.BatchNorm1d(3, momentum=0.3), nn.BatchNorm1d(3)
        self.linear = nn.Linear(5, 3)

    def forward(self, x):
        return self.third(self.second(self.linear(self.first(x))))


def step_of(model, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Step(model, LOSS, optimizer, minibatch_size=12, worker_minibatch_size=4, **options)


def minibatch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(zip(torch.randn(12, 5, generator=generator).split(4), (torch.arange(12) % 3).split(4), strict=True))


def trained(model, between=lambda _model: None, steps=3):
    step = step_of(model)
    for number in range(steps):
        step(minibatch(number))
        between(model)
    return model.state_dict()


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def assign(model):
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=False)


def replace_buffers(model):
    for norm in (model.first, model.third):
        norm.running_mean = norm.running_mean.clone()
        norm.num_batches_tracked = norm.num_batches_tracked.clone()


def replace_storage(model):
    model.second.running_var.data = model.second.running_var.data.clone()


def step_with_another(model):
    another = step_of(model)
    before = copy.deepcopy(model.state_dict())
    another(minibatch(9))
    model.load_state_dict(before)


@pytest.mark.parametrize("between", [assign, replace_buffers, replace_storage, step_with_another, copy.deepcopy])
def test_what_a_user_does_with_buffers_between_two_steps_changes_nothing(between):
    assert_same(trained(Net(), between), trained(Net()))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.sampled_from(["first", "second", "third"]), max_size=2), st.integers(1, 3))
def test_the_end_is_the_mean_over_workers_that_start_alike(frozen, momentum):
    """Beside a plain loop over the norms of each worker."""
    model = Net()
    for name in frozen:
        getattr(model, name).eval()
    model.first.momentum = momentum / 10
    model = model.double()
    start, ends = copy.deepcopy(model), []
    for inputs, _ in minibatch():
        worker = copy.deepcopy(start)
        worker(inputs.double())
        ends.append({name: buffer.clone() for name, buffer in worker.named_buffers()})
    step_of(model)([(inputs.double(), targets) for inputs, targets in minibatch()])
    for name, buffer in model.named_buffers():
        values = torch.stack([end[name].double() for end in ends])
        torch.testing.assert_close(buffer.double(), values.mean(0), msg=name)


class Swaps(Net):
    """A norm of which each pass replaces a buffer, or what it holds."""

    def forward(self, x):
        output = super().forward(x)
        self.second.running_mean = self.second.running_mean.clone()
        self.third.running_var.data = self.third.running_var.data.clone()
        return output


def test_a_pass_that_replaces_statistics_gives_the_bits_of_one_that_writes_to_them():
    assert_same(trained(Swaps()), trained(Net()))


class Shares(Net):
    """Another module sees the statistics: the same tensor, and a view of one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("same", self.first.running_mean)
        self.register_buffer("view", self.second.running_var[1:])


def test_buffers_that_share_memory_go_on_sharing_it():
    model = Shares()
    step = step_of(model, buffers={"same": "mean", "view": "mean"})
    step(minibatch())
    step(minibatch(1))
    assert model.same is model.first.running_mean
    assert model.view.data_ptr() == model.second.running_var[1:].data_ptr()
    assert torch.equal(model.view, model.second.running_var[1:])


def test_statistics_that_change_their_shape_are_refused():
    model = Net()
    step = step_of(model)
    step(minibatch())
    model.first.running_mean = torch.zeros(1)
    with pytest.raises(InputError, match=r"buffer 'first.running_mean' has been removed, or has another shape"):
        step(minibatch(1))


def test_statistics_are_saved_as_any_others(tmp_path):
    model = Net()
    trained(model)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    assert_same(torch.load(tmp_path / "weights.pt"), model.state_dict())
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(model.state_dict(), tmp_path / "weights.safetensors")
    assert_same(safetensors.load_file(tmp_path / "weights.safetensors"), model.state_dict())


class Rewrites(nn.Linear):
    """A constant that passes write anew with the same bits: those whose first number lies above a threshold."""

    def __init__(self, threshold: float) -> None:
        super().__init__(5, 3)
        self.threshold = threshold
        self.register_buffer("scale", torch.full((3,), 0.1))

    def forward(self, x):
        if x[0, 0] > self.threshold:
            self.scale.fill_(0.1)
        return super().forward(x) * self.scale


@pytest.mark.parametrize("threshold", [-torch.inf, 0.0, 99.0])
def test_a_constant_may_be_written_to_with_its_own_bits(threshold):
    model = Rewrites(threshold)
    step = step_of(model)
    for number in range(3):
        batches = minibatch(number)
        batches[number][0][0, 0] = 100
        step(batches)
        model.scale.mul_(1.0)  # and its user between two steps
    assert model.scale.tolist() == torch.full((3,), 0.1).tolist()


def test_a_constant_that_its_user_sets_between_two_steps_stays_so():
    model = Rewrites(torch.inf)
    step = step_of(model)
    step(minibatch())
    model.scale.fill_(0.5)
    step(minibatch(1))
    assert model.scale.tolist() == [0.5] * 3


class Grows(Net):
    """A pass that makes a buffer, in some steps only."""

    def forward(self, x):
        if x[0, 0] > 99:
            self.first.register_buffer("late", torch.zeros(1))
        return super().forward(x)


def test_a_buffer_that_a_later_pass_makes_is_refused():
    step = step_of(Grows())
    step(minibatch())
    late = minibatch(1)
    late[2][0][0, 0] = 100
    with pytest.raises(InputError, match=r"buffer 'first.late' changes in some steps only"):
        step(late)


def test_another_layer_in_place_of_one_is_refused_and_one_without_parameters_is_not():
    model = Net()
    step = step_of(model)
    step(minibatch())
    model.activation = nn.ReLU()
    step(minibatch(1))
    model.linear = nn.Linear(5, 3)
    with pytest.raises(InputError, match="frozen, unfrozen or replaced after Step was made"):
        step(minibatch(2))


def test_a_minibatch_in_a_list_gives_the_bits_of_one_that_is_read_as_it_goes():
    def run(read):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        step = step_of(model)
        for number in range(2):
            step(read(minibatch(number)))
        return model.state_dict()

    assert_same(run(list), run(iter))
    assert_same(run(tuple), run(lambda batches: (batch for batch in batches)))


class Count(TorchDispatchMode):
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        return func(*args, **(kwargs or {}))


def operations(run):
    run()
    with Count() as count:
        run()
    return count.number


@pytest.mark.parametrize("workers", [2, 8])
def test_a_step_launches_as_many_operations_for_many_layers_as_for_few(workers):
    def besides(layers):
        model = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(5, 5), nn.BatchNorm1d(5))))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        step = Step(model, LOSS, optimizer, minibatch_size=4 * workers, worker_minibatch_size=4)
        batches = [(torch.randn(4, 5), torch.arange(4)) for _ in step.workers]

        def alone():
            for inputs, targets in batches:
                optimizer.zero_grad()
                LOSS(model(inputs), targets).sum().backward()

        return operations(lambda: step.backward(batches)) - operations(alone)

    assert besides(2) == besides(20) <= 20 * workers
