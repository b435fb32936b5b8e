"""The exact step, and the four precautions with the wrong variant of each (arXiv 1706.02677, section 3)."""

import copy
import math
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError
from bigbatch.reduction.local_sum import FlatLayout
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.step import Step
from rate_absorbed import RateAbsorbedSGD

LOSS = nn.CrossEntropyLoss(reduction="none")


def small_model(*, norm=False, dropout=0.0):
    torch.manual_seed(0)
    norms = [nn.BatchNorm1d(8)] if norm else []
    return nn.Sequential(nn.Linear(5, 8), *norms, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def samples(num_samples):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(num_samples, 5, generator=generator), torch.arange(num_samples) % 3


def batches_of(n, inputs, targets):
    return list(zip(inputs.split(n), targets.split(n), strict=True))


def make_step(model, *, minibatch_size, n, loss=LOSS, lr=0.1, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=0.01)
    return Step(model, loss, optimizer, minibatch_size=minibatch_size, worker_minibatch_size=n, **options)


def gradients(model):
    return [p.grad.clone() for p in model.parameters()]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 6))
def test_k_workers_of_n_agree_with_one_pass_over_all_samples(k, n):
    """Without batch normalisation the loss does not depend on the worker's size: the gradients agree to rounding."""
    inputs, targets = samples(k * n)
    model, whole = small_model(), small_model()
    loss = make_step(model, minibatch_size=k * n, n=n).backward(batches_of(n, inputs, targets), iteration=0).loss
    expected = nn.functional.cross_entropy(whole(inputs), targets)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for got, want in zip(gradients(model), gradients(whole), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_batch_normalisation_is_over_one_worker_and_running_statistics_are_the_mean_over_workers():
    inputs, targets = samples(12)
    model = small_model(norm=True)
    make_step(model, minibatch_size=12, n=4)(batches_of(4, inputs, targets), iteration=0)
    hidden = small_model(norm=True)[0](inputs).split(4)
    mean = torch.stack([block.mean(0) for block in hidden]).mean(0)
    variance = torch.stack([block.var(0) for block in hidden]).mean(0)
    torch.testing.assert_close(model[1].running_mean, 0.1 * mean)
    torch.testing.assert_close(model[1].running_var, 0.9 + 0.1 * variance)
    assert model[1].num_batches_tracked == 1
    other = small_model(norm=True)
    make_step(other, minibatch_size=12, n=6)(batches_of(6, inputs, targets), iteration=0)
    assert not torch.equal(other[0].weight, model[0].weight), "n is a part of the loss"


def test_precaution_1_scaling_the_loss_is_not_scaling_the_rate():
    """A Nesterov step begins as 1.9 * rate * (gradient + decay * weight), eq. 8: the loss scales one term."""
    inputs, targets = samples(8)
    plain = small_model()
    nn.functional.cross_entropy(plain(inputs), targets).backward()
    weight, gradient = plain[0].weight.detach(), plain[0].weight.grad
    scaled_rate, scaled_loss = small_model(), small_model()
    make_step(scaled_rate, minibatch_size=8, n=4, lr=0.4)(batches_of(4, inputs, targets), iteration=0)
    step = make_step(scaled_loss, minibatch_size=8, n=4, loss=lambda out, y: 4 * LOSS(out, y), lr=0.1)
    step(batches_of(4, inputs, targets), iteration=0)
    right = weight - 0.4 * 1.9 * (gradient + 0.01 * weight)
    wrong = weight - 0.1 * 1.9 * (4 * gradient + 0.01 * weight)
    torch.testing.assert_close(scaled_rate[0].weight.detach(), right, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(scaled_loss[0].weight.detach(), wrong, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(right, wrong, rtol=1e-4)


def test_precaution_3_the_loss_is_divided_by_the_minibatch_size_not_by_the_workers():
    """With 1/n for each worker the sum is k times too large; keeping the rate then breaks weight decay."""
    inputs, targets = samples(12)
    model, wrong = small_model(), small_model()
    make_step(model, minibatch_size=12, n=4).backward(batches_of(4, inputs, targets), iteration=0)
    for x, y in batches_of(4, inputs, targets):
        nn.functional.cross_entropy(wrong(x), y).backward()
    for got, by_n in zip(gradients(model), gradients(wrong), strict=True):
        torch.testing.assert_close(3 * got, by_n, rtol=1e-4, atol=1e-6)


def test_dropout_is_keyed_by_seed_iteration_and_worker_not_by_history():
    inputs, targets = samples(8)

    def gradient(*, seed, iteration):
        torch.randn(torch.randint(1, 50, ()))  # whatever happened before must not matter
        model = small_model(dropout=0.5)
        torch.manual_seed(torch.seed())
        make_step(model, minibatch_size=8, n=4, seed=seed).backward(batches_of(4, inputs, targets), iteration=iteration)
        return model[0].weight.grad

    assert torch.equal(gradient(seed=0, iteration=7), gradient(seed=0, iteration=7))
    assert not torch.equal(gradient(seed=0, iteration=7), gradient(seed=0, iteration=8))
    assert not torch.equal(gradient(seed=0, iteration=7), gradient(seed=1, iteration=7))
    same = [(inputs[:4], targets[:4])] * 2
    model = small_model(dropout=0.5)
    step = make_step(model, minibatch_size=8, n=4)
    step.backward(same, iteration=0)
    losses = []
    backward = step.aggregation.backward
    step.aggregation.backward = lambda worker, loss, leaf: (losses.append(loss.item()), backward(worker, loss, leaf))
    step.backward(same, iteration=0)
    assert losses[0] != losses[1], "two workers with the same samples drop other features"


def test_steps_repeat_bit_for_bit():
    inputs, targets = samples(40)

    def weights():
        model = small_model(norm=True, dropout=0.2)
        step = make_step(model, minibatch_size=40, n=4)
        for iteration in range(5):
            step(batches_of(4, inputs, targets), iteration=iteration)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(weights(), weights())


class TwoHeads(nn.Module):
    """The second head is never used; the frozen layer has no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = (
            nn.Linear(5, 3),
            nn.Linear(5, 3),
            nn.Linear(5, 5).requires_grad_(requires_grad=False),
        )

    def forward(self, x):
        return self.used(self.frozen(x))


def test_an_unused_parameter_has_no_gradient_and_a_frozen_one_stays():
    model = TwoHeads()
    before = copy.deepcopy(model.state_dict())
    make_step(model, minibatch_size=4, n=2)(batches_of(2, *samples(4)), iteration=0)
    assert model.unused.weight.grad is None
    assert model.frozen.weight.grad is None
    assert torch.equal(model.frozen.weight, before["frozen.weight"])
    assert not torch.equal(model.used.weight, before["used.weight"])


class Counting(nn.Linear):
    """An integer buffer that depends on the data."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.long))

    def forward(self, x):
        self.seen += (x > 0).sum()
        return super().forward(x)


def test_integer_state_that_depends_on_the_samples_is_refused():
    step = make_step(Counting(), minibatch_size=12, n=2)
    with pytest.raises(InputError, match="buffer 'seen' differs between the workers"):
        step(batches_of(2, *samples(12)), iteration=0)


class Rarely(nn.Linear):
    """A buffer that changes only when a worker sees a large value."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        self.seen += (x > 100).sum()
        return super().forward(x)


def test_state_that_changes_in_some_steps_only_is_refused():
    step = make_step(Rarely(), minibatch_size=4, n=2)
    inputs, targets = samples(4)
    step(batches_of(2, inputs, targets), iteration=0)
    inputs[3] = 1000.0
    with pytest.raises(InputError, match="buffer 'seen' changes in some steps only"):
        step(batches_of(2, inputs, targets), iteration=1)


class Masked(nn.Linear):
    """Constant buffers: their mean over the workers would not be the same to the bit, or not a number."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.register_buffer("tenth", torch.full((3,), 0.1))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf, torch.nan]), persistent=False)

    def forward(self, x):
        return super().forward(x) + self.tenth


def test_constant_buffers_stay_to_the_bit():
    model = Masked()
    step = make_step(model, minibatch_size=26, n=2)
    for iteration in range(3):
        step(batches_of(2, *samples(26)), iteration=iteration)
    assert model.tenth.tolist() == torch.full((3,), 0.1).tolist()
    assert str(model.mask.tolist()) == "[0.0, -inf, nan]"


class Replaces(nn.Linear):
    """A buffer that is replaced instead of written to must not escape."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.register_buffer("average", torch.zeros(5))

    def forward(self, x):
        self.average = 0.9 * self.average + 0.1 * x.detach().mean(0)
        return super().forward(x)


class Momentum(nn.Linear):
    """A frozen copy of the weight that each forward pass moves."""

    def __init__(self) -> None:
        super().__init__(5, 3)
        self.copy = nn.Parameter(torch.zeros(3, 5), requires_grad=False)

    def forward(self, x):
        with torch.no_grad():
            self.copy.lerp_(self.weight, 0.1)
        return super().forward(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [(Replaces, "buffer 'average' differs between the workers"), (Momentum, "writes to the model's parameter 'copy'")],
)
def test_state_that_would_escape_the_sum_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        make_step(model(), minibatch_size=4, n=2)(batches_of(2, *samples(4)), iteration=0)


def test_parameters_that_would_escape_the_sum_are_refused():
    model = TwoHeads()
    step = make_step(model, minibatch_size=4, n=2)
    model.frozen.requires_grad_()
    with pytest.raises(InputError, match="frozen, unfrozen or replaced after Step was made"):
        step(batches_of(2, *samples(4)), iteration=0)
    model, temperature = small_model(), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*model.parameters(), temperature], lr=0.1)
    with pytest.raises(InputError, match="the optimizer has parameters that are not the model's"):
        Step(model, LOSS, optimizer, minibatch_size=4, worker_minibatch_size=2)
    with pytest.raises(InputError, match="no parameter to train"):
        make_step(small_model().requires_grad_(requires_grad=False), minibatch_size=4, n=2)
    with pytest.raises(InputError, match="wrapped in DataParallel; pass the module inside"):
        make_step(nn.DataParallel(small_model()), minibatch_size=4, n=2)


def test_a_step_that_failed_leaves_nothing_behind():
    inputs, targets = samples(8)
    model, untouched = small_model(), small_model()
    step = make_step(model, minibatch_size=8, n=4)
    with pytest.raises(InputError, match="fewer batches"):
        step.backward(batches_of(4, inputs[:4], targets[:4]), iteration=0)
    loss = step.backward(iter(batches_of(4, inputs, targets)), iteration=0).loss
    assert (
        loss == make_step(untouched, minibatch_size=8, n=4).backward(batches_of(4, inputs, targets), iteration=0).loss
    )
    assert torch.equal(model[0].weight.grad, untouched[0].weight.grad)
    with pytest.raises(InputError, match="more batches"):
        step.backward(iter(batches_of(4, *samples(12))), iteration=0)


def test_words_that_step_does_not_know_are_refused():
    with pytest.raises(InputError, match="precision 'bf16' is unknown"):
        make_step(small_model(), minibatch_size=4, n=2, precision="bf16")
    with pytest.raises(InputError, match="all_reduce 'ring' is unknown; known are: auto, direct"):
        AggregationOptions(all_reduce="ring")
    with pytest.raises(InputError, match="compression 'fp8' is unknown"):
        AggregationOptions(compression="fp8")
    with pytest.raises(InputError, match="bfloat16 is not exact; it needs the native all-reduce"):
        AggregationOptions(compression="bfloat16")
    for size in (0, -1, math.nan, 1e9):
        with pytest.raises(InputError, match="bucket_mb must lie above 0 and be at most 1024, not"):
            AggregationOptions(bucket_mb=size)


def test_the_generators_after_a_step_depend_on_nothing_but_the_iteration():
    def draws(num_batches):
        step = make_step(small_model(), minibatch_size=4 * num_batches, n=4)
        step(batches_of(4, *samples(4 * num_batches)), iteration=3)
        return torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - the global generator is meant

    assert draws(1) == draws(5)


def test_a_worker_that_leaves_a_parameter_out_adds_zeros_also_in_a_used_buffer():
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.seldom = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x):
            return self.always(x) + (self.seldom(x) if x[0, 0] > 0 else 0)

    torch.manual_seed(0)
    model = Sometimes()
    inputs, targets = samples(8)
    inputs[:, 0] = torch.tensor([1.0, 1, -1, -1, 1, 1, -1, -1])
    step = make_step(model, minibatch_size=8, n=2)
    for _ in range(2):
        step.backward(batches_of(2, inputs, targets), iteration=0)
    whole = copy.deepcopy(model)
    whole.zero_grad()
    for x, y in batches_of(2, inputs, targets):
        (nn.functional.cross_entropy(whole(x), y, reduction="sum") / 8).backward()
    torch.testing.assert_close(model.seldom.weight.grad, whole.seldom.weight.grad)


def test_the_reduction_allocates_a_logarithm_of_buffers_and_none_after_the_first_step(monkeypatch):
    allocated = []
    empty = FlatLayout.empty
    monkeypatch.setattr(FlatLayout, "empty", lambda layout: allocated.append(layout) or empty(layout))
    step = make_step(small_model(), minibatch_size=64, n=2)
    counts = []
    for iteration in range(3):
        step(batches_of(2, *samples(64)), iteration=iteration)
        summed = {step.aggregation.gradients.layout, step.aggregation.statistics.layout}
        counts.append(sum(layout in summed for layout in allocated))
    assert counts == [2 * 5] * 3  # gradients and statistics: log2(32 workers), for a leaf joins its sibling at once


def test_frozen_batch_normalisation_stays_frozen():
    model = small_model(norm=True)
    model[1].eval()
    before = model[1].running_mean.clone()
    make_step(model, minibatch_size=8, n=4)(batches_of(4, *samples(8)), iteration=0)
    assert torch.equal(model[1].running_mean, before)
    assert not model[1].training


def test_batch_normalisation_over_processes_is_refused():
    with pytest.raises(InputError, match="'1' is SyncBatchNorm, which normalises over processes"):
        make_step(nn.SyncBatchNorm.convert_sync_batchnorm(small_model(norm=True)), minibatch_size=8, n=4)


def test_a_minibatch_of_the_wrong_size_is_refused():
    step = make_step(small_model(), minibatch_size=8, n=4)
    inputs, targets = samples(12)
    for batches in (batches_of(4, inputs[:4], targets[:4]), batches_of(4, inputs, targets)):
        with pytest.raises(InputError, match="batches than this process has workers: 2"):
            step(batches, iteration=0)
    with pytest.raises(InputError, match="a batch has 6 samples, but worker_minibatch_size is 4"):
        make_step(small_model(), minibatch_size=8, n=4)(batches_of(6, inputs, targets), iteration=0)


def test_channels_last_and_bfloat16_autocast():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 3))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = Step(model, LOSS, optimizer, minibatch_size=4, worker_minibatch_size=2, precision="bfloat16")
    images = torch.randn(4, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    loss = step([(images[:2], torch.tensor([0, 1])), (images[2:], torch.tensor([1, 2]))], iteration=0)
    assert loss.dtype == torch.float32
    assert model[0].weight.grad.stride() == model[0].weight.stride()
    assert loss.isfinite()


def test_an_optimizer_that_absorbs_the_rate_is_refused_unless_corrected():
    model = small_model()
    optimizer = RateAbsorbedSGD(model.parameters(), lr=0.1)
    sizes = {"minibatch_size": 4, "worker_minibatch_size": 2}
    with pytest.raises(InputError, match="RateAbsorbedSGD absorbs the learning rate"):
        Step(model, LOSS, optimizer, **sizes)
    Step(model, LOSS, optimizer, momentum_correction=True, **sizes)(batches_of(2, *samples(4)), iteration=0)


def test_a_size_that_is_refused_leaves_the_step_as_it_was():
    inputs, targets = samples(12)
    step = make_step(small_model(), minibatch_size=8, n=4)
    with pytest.raises(InputError, match="6 is not divisible"):
        step.resize(6)
    step(batches_of(4, inputs[:8], targets[:8]), iteration=0)
    step.resize(12)
    assert (step.minibatch_size, step.worker_count, list(step.workers)) == (12, 3, [0, 1, 2])
    step(batches_of(4, inputs, targets), iteration=1)


def test_the_step_counts_its_updates_and_a_count_of_ones_own_gives_the_same_bits():
    inputs, targets = samples(8)

    def weight(take):
        model = small_model(dropout=0.5)
        step = make_step(model, minibatch_size=8, n=4)
        take(step, batches_of(4, inputs, targets))
        return model[0].weight.detach()

    def counted(step, minibatch):
        for number in range(3):
            assert step.iteration == number
            step(minibatch)

    def given_by_hand(step, minibatch):
        for number in range(3):
            step(minibatch, iteration=number)

    def resumed(step, minibatch):
        step(minibatch, iteration=0)
        assert step.iteration == 1
        step.backward(minibatch)  # which counts, too
        step.optimizer.step()
        step.iteration = 2
        step(minibatch)

    def without_a_count(step, minibatch):
        for _ in range(3):
            step(minibatch, iteration=0)

    assert torch.equal(weight(counted), weight(given_by_hand))
    assert torch.equal(weight(counted), weight(resumed))
    assert not torch.equal(weight(counted), weight(without_a_count)), "the iteration keys dropout"


def test_an_update_that_fails_is_not_counted():
    step = make_step(small_model(), minibatch_size=8, n=4)
    with pytest.raises(InputError, match="fewer batches"):
        step(batches_of(4, *samples(4)))
    assert step.iteration == 0


def test_a_step_is_closed_once_and_then_refuses():
    step, closed = make_step(small_model(), minibatch_size=8, n=4), []
    with step:
        step(batches_of(4, *samples(8)))
        step.communicator = SimpleNamespace(close=lambda: closed.append("close"))
    step.close()
    assert closed == ["close"]
    with pytest.raises(InputError, match="the step is closed; make a new Step"):
        step(batches_of(4, *samples(8)))


def test_a_step_that_an_error_leaves_does_not_wait_for_the_other_processes():
    step = make_step(small_model(), minibatch_size=8, n=4)
    step.communicator = SimpleNamespace(close=lambda: pytest.fail("would wait for a thread that waits for others"))
    with pytest.raises(ZeroDivisionError), step:
        raise ZeroDivisionError
    assert not step.is_closed


def test_the_sizes_and_the_seed_are_those_of_the_minibatches_unless_given():
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    minibatches = Minibatches(range(40), minibatch_size=8, worker_minibatch_size=4, seed=3, augmentation_seed=5)
    step = Step(model, LOSS, optimizer, minibatches)
    assert (step.minibatch_size, step.worker_minibatch_size, step.seed) == (8, 4, 5)
    step = Step(model, LOSS, optimizer, minibatches, worker_minibatch_size=2, seed=0)
    assert (step.minibatch_size, step.worker_minibatch_size, step.seed) == (8, 2, 0)
    assert Step(model, LOSS, optimizer, minibatch_size=8, worker_minibatch_size=4).seed == 0
    with pytest.raises(InputError, match="Step needs the sizes: give it the Minibatches, or minibatch_size and"):
        Step(model, LOSS, optimizer, minibatch_size=8)
