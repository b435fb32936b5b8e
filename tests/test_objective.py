"""One mechanism for every loss: (sum of totals) / (sum of weights), by samples, by count and by worker."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import bigbatch
from bigbatch.errors import InputError

CLASSES = 5


class Tokens(nn.Module):
    """A small language model over sequences of any length."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(CLASSES, 4), nn.Linear(4, CLASSES)

    def forward(self, tokens):
        return self.head(self.embedding(tokens)).transpose(1, 2)


def make(model=Tokens, seed=0):
    torch.manual_seed(seed)
    return model()


def batches(sizes, length=6, seed=0, *, empty=()):
    """Return a batch for each worker, with as many sequences; some targets are ignored, in `empty` all."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for worker, size in enumerate(sizes):
        tokens = torch.randint(CLASSES, (size, length), generator=generator)
        targets = torch.randint(CLASSES, (size, length), generator=generator)
        is_ignored = torch.rand(size, length, generator=generator) < 0.4
        targets[is_ignored | torch.tensor(worker in empty)] = -100
        found.append((tokens, targets))
    return found


def step_of(model, objective, *, k, n=2):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return bigbatch.Step(model, objective, optimizer, minibatch_size=k * n, worker_minibatch_size=n)


def by_count(weights=None):
    @bigbatch.objective
    def objective(model, batch):
        tokens, targets = batch
        options = {} if weights is None else {"weight": weights}
        total = functional.cross_entropy(model(tokens), targets, reduction="sum", **options)
        is_counted = targets != -100
        weight = is_counted.sum() if weights is None else (weights[targets.clamp(min=0)] * is_counted).sum()
        return bigbatch.Loss(total, weight)

    return objective


@bigbatch.objective
def by_worker(model, batch):
    """A batch Dice, which no sum over samples gives."""
    tokens, targets = batch
    probabilities = model(tokens).softmax(1)
    truth = functional.one_hot(targets.clamp(min=0), CLASSES).transpose(1, 2)
    dice = 1 - 2 * (probabilities * truth).sum((0, 2)) / (probabilities + truth).sum((0, 2))
    return bigbatch.Loss(dice.mean(), 1)


def gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_close(found, expected):
    for name, gradient in expected.items():
        scale = gradient.abs().max()
        assert (found[name] - gradient).abs().max() <= 1e-6 * max(scale, 1), name


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.booleans(), st.data())
def test_by_count_is_torchs_mean_over_all_tokens(sizes, has_weights, data):
    """Also with workers of different sizes, one without any sequence and one without any target."""
    weights = torch.linspace(0.2, 3, CLASSES) if has_weights else None
    empty = data.draw(st.sets(st.sampled_from(range(len(sizes)))))
    minibatch = batches(sizes, empty=empty)
    tokens, targets = (torch.cat(parts) for parts in zip(*minibatch, strict=True))
    model, whole = make(), make().double()
    if not (targets != -100).any():
        return
    result = step_of(model, by_count(weights), k=len(sizes)).backward(minibatch)
    options = {} if weights is None else {"weight": weights.double()}
    expected = functional.cross_entropy(whole(tokens), targets, **options)
    expected.backward()
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(gradients(model), gradients(whole))


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_by_worker_is_the_mean_of_the_workers_own_losses(k):
    minibatch = batches([2] * k)
    model, whole = make(), make().double()
    result = step_of(model, by_worker, k=k).backward(minibatch)
    expected = sum(by_worker(whole, batch).total for batch in minibatch) / k
    expected.backward()
    assert result.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert_close(gradients(model), gradients(whole))


def test_by_samples_an_objective_and_a_loss_function_have_the_same_bits():
    def losses(outputs, targets):
        return functional.cross_entropy(outputs, targets, reduction="none").mean(1)

    plain, objective = make(), make()
    minibatch = batches([2, 2, 2])
    step_of(plain, losses, k=3).backward(minibatch)
    step_of(objective, bigbatch.objective(lambda model, batch: losses(model(batch[0]), batch[1])), k=3).backward(
        minibatch
    )
    found = gradients(objective)
    assert all(torch.equal(gradient, found[name]) for name, gradient in gradients(plain).items())


def test_a_minibatch_with_nothing_to_count_has_a_loss_of_0_and_gradients_of_0():
    model = make()
    result = step_of(model, by_count(), k=2).backward(batches([2, 2], empty={0, 1}))
    assert result.loss == 0
    assert result.is_finite
    assert not any(gradient.any() for gradient in gradients(model).values())


def test_a_worker_whose_loss_has_no_graph_counts_as_zero():
    """A detector without boxes may return a constant."""

    @bigbatch.objective
    def of_those_there(model, batch):
        _, targets = batch
        if not (targets != -100).any():
            return bigbatch.Loss(0.0, 0)
        return by_count()(model, batch)

    for minibatch in (batches([2, 2, 2], empty={0}), batches([2, 2, 2], empty={1, 2})):
        model, expected = make(), make()
        step_of(model, of_those_there, k=3).backward(minibatch)
        step_of(expected, by_count(), k=3).backward(minibatch)
        assert_close(gradients(model), gradients(expected))


@pytest.mark.parametrize(
    "loss",
    [
        functional.cross_entropy,  # a mean
        lambda y, t: functional.cross_entropy(y, t).reshape(1),
        lambda y, t: functional.cross_entropy(y, t, reduction="none"),  # a loss a token
        lambda y, t: functional.cross_entropy(y, t, reduction="sum"),
        lambda y, t: functional.cross_entropy(y, t, reduction="none").mean(0),  # a loss a place
        lambda y, t: {"loss": functional.cross_entropy(y, t)},
        lambda y, t: functional.cross_entropy(y, t, reduction="none").mean(1)[:1],
    ],
)
def test_what_is_neither_is_refused_in_a_line_that_offers_the_three(loss):
    with pytest.raises(InputError) as error:
        step_of(make(), loss, k=2)(batches([2, 2]))
    text = str(error.value)
    assert "one loss a sample, shape (2,)" in text
    assert "by count" in text
    assert "by worker" in text
    assert "\n" not in text


def dice_by_class(outputs, targets):
    probabilities, truth = outputs.softmax(1), functional.one_hot(targets.clamp(min=0), CLASSES).transpose(1, 2)
    return 1 - 2 * (probabilities * truth).sum((0, 2)) / (probabilities + truth).sum((0, 2))


def focal_by_place(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none").mean(0)


@pytest.mark.parametrize(("loss", "length"), [(dice_by_class, 6), (focal_by_place, CLASSES)])
def test_as_many_losses_as_samples_that_are_not_of_the_samples_are_refused(loss, length):
    minibatch = batches([CLASSES, CLASSES], length=length)
    with pytest.raises(InputError, match="they do not follow the 5 samples"):
        step_of(make(), loss, k=2, n=CLASSES)(minibatch)


def test_losses_that_compare_the_samples_are_one_loss_a_sample():
    """A contrastive loss: every sample's depends on all of its worker's."""

    def contrastive(outputs, _):
        z = functional.normalize(outputs.flatten(1), dim=1)
        return functional.cross_entropy(z @ z.T / 0.1, torch.arange(len(z)), reduction="none")

    assert step_of(make(), contrastive, k=2, n=4)(batches([4, 4])) > 0


@pytest.mark.parametrize(
    ("total", "weight", "words"),
    [
        (lambda x: x, 1, r"Loss.total must be one number for the worker's whole batch, not \[2\]"),
        (lambda x: x.sum(), torch.ones(2), r"Loss.weight must be one number for the worker's whole batch, not \[2\]"),
        (str, 1, "Loss.total must be one number for the worker's whole batch, not str"),
        (lambda x: x.sum(), None, "Loss.weight must be one number for the worker's whole batch, not NoneType"),
    ],
)
def test_a_total_and_a_weight_are_numbers(total, weight, words):
    objective = bigbatch.objective(lambda model, batch: bigbatch.Loss(total(model(batch[0]).sum((1, 2))), weight))
    with pytest.raises(InputError, match=words):
        step_of(make(), objective, k=2)(batches([2, 2]))


def test_an_objective_keeps_its_normalisation():
    calls = []

    @bigbatch.objective
    def changing(model, batch):
        calls.append(1)
        loss = by_count()(model, batch)
        return loss if len(calls) < 3 else loss.total.expand(2)

    with pytest.raises(InputError, match=r"a bigbatch.Loss for some batches, and one loss a sample for others"):
        step_of(make(), changing, k=2)(batches([2, 2]))


def test_a_batch_that_is_no_pair_needs_an_objective():
    with pytest.raises(InputError, match="a batch is a dict, not"):
        step_of(make(), lambda y, _: y, k=2)([{"tokens": torch.zeros(2, 3)}] * 2)


@pytest.mark.parametrize("size", [1, 3])
def test_a_batch_of_the_wrong_size_is_noticed_whatever_its_type(size):
    @bigbatch.objective
    def objective(model, batch):
        return functional.cross_entropy(model(batch["tokens"]), batch["next"], reduction="none").mean(1)

    good, bad = ({"tokens": torch.zeros(n, 3, dtype=torch.long), "next": torch.zeros(n, 3).long()} for n in (2, size))
    with pytest.raises(InputError, match=rf"shape \({size},\); return one loss a sample, shape \(2,\)"):
        step_of(make(), objective, k=2)([good, bad])


class Proxies(nn.Module):
    """A loss with parameters of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, z, y):
        return functional.cross_entropy(z @ self.weight.T, y, reduction="none")


def test_a_loss_with_parameters_of_its_own_is_refused_however_it_is_written():
    minibatch = [(torch.randn(2, 6), torch.tensor([0, 1]))] * 2
    proxies, scale = Proxies(), nn.Parameter(torch.ones(()))
    of_objective = bigbatch.objective(lambda model, batch: proxies(model(batch[0]), batch[1]))
    scaled = lambda z, y: functional.cross_entropy(z, y, reduction="none") * scale  # noqa: E731
    for loss in (proxies, proxies.forward, of_objective, scaled):
        with pytest.raises(InputError, match=r"the loss has a parameter of shape .* that is not the model's"):
            step_of(nn.Linear(6, 4), loss, k=2)(minibatch)


def test_a_loss_with_parameters_is_right_as_a_part_of_the_model():
    torch.manual_seed(0)
    model = nn.ModuleDict({"net": nn.Linear(6, 4), "loss": Proxies()})
    x, y = torch.randn(8, 6), torch.arange(8) % 3
    whole = nn.ModuleDict({"net": nn.Linear(6, 4), "loss": Proxies()}).double()
    whole.load_state_dict(model.state_dict())
    objective = bigbatch.objective(lambda model, batch: model["loss"](model["net"](batch[0]), batch[1]))
    step_of(model, objective, k=4).backward([(x[i : i + 2], y[i : i + 2]) for i in range(0, 8, 2)])
    whole["loss"](whole["net"](x.double()), y).mean().backward()
    assert_close(gradients(model), gradients(whole))


def test_a_loss_that_reaches_no_parameter_is_refused():
    minibatch = [(torch.randn(2, 6), torch.tensor([0, 1]))] * 2
    with pytest.raises(InputError, match="the loss depends on no parameter that trains"):
        step_of(nn.Linear(6, 4), lambda z, _: z.detach().sum(1), k=2)(minibatch)
