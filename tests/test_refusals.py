"""A step is right, or refuses in one line: never silence, never a traceback."""

import copy
import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn

from bigbatch.errors import InputError
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.join import joined
from bigbatch.recipe.file import from_toml, to_toml
from bigbatch.recipe.presets import digits
from bigbatch.recipe.sections.model import Model
from bigbatch.reduction.options import AggregationOptions
from bigbatch.step.preconditions import SETTINGS
from bigbatch.step.running_state import fingerprint
from bigbatch.step.step import Step
from bigbatch.step.worker_pass import forward_precision
from bigbatch.training.build import build
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.restore import restore_model
from programs.hard_models import CASES, LOSS, NUM_CLASSES, NUM_FEATURES, outcome

HEX = frozenset("0123456789abcdef")


@pytest.mark.parametrize("name", CASES)
def test_a_model_is_trained_or_refused_in_one_line(name):
    got, expected = outcome(CASES[name]), CASES[name].gives
    assert "\n" not in got
    if expected == "right":
        assert set(got) <= HEX, got
    else:
        assert expected in got


def test_what_becomes_of_a_model_does_not_depend_on_the_processes(group):
    group("refusal_law.py", 2)


class Seen(nn.Linear):
    """A linear model that notes in what its output is."""

    def forward(self, x):
        outputs = super().forward(x)
        self.dtype = str(outputs.dtype)
        return outputs


def made(precision="float32", model=None):
    torch.manual_seed(0)
    model = model or Seen(NUM_FEATURES, NUM_CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return Step(model, LOSS, optimizer, minibatch_size=16, worker_minibatch_size=4, precision=precision)


def minibatch():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, NUM_FEATURES, generator=generator), torch.arange(4) % NUM_CLASSES) for _ in range(4)]


def losses(step, count=4):
    return [step(minibatch()).item() for _ in range(count)]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("cached", [True, False])
def test_autocast_around_the_loop_is_refused_in_every_step(precision, cached):
    step = made(precision)
    step(minibatch())
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached), pytest.raises(InputError) as refusal:
            losses(step)
        assert 'leave it away and say precision="bfloat16"' in str(refusal.value)
    step(minibatch())


def test_autocast_around_an_evaluation_is_refused_too_as_it_would_keep_old_weights():
    device = torch.device("cpu")
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(InputError, match="autocast is on around the loop"):
        forward_precision(device, "bfloat16")


def test_autocast_within_the_model_and_for_another_device_is_free():
    class Inside(Seen):
        @torch.autocast("cpu", torch.bfloat16)
        def forward(self, x):
            return super().forward(x)

    inside = made(model=Inside(NUM_FEATURES, NUM_CLASSES))
    assert len(set(losses(inside))) == 4
    assert inside.model.dtype == "torch.bfloat16"
    with warnings.catch_warnings(action="ignore"), torch.autocast("cuda"):
        assert losses(made()) == losses(made())


class CastsInside(nn.Linear):
    @torch.autocast("cpu", torch.bfloat16)
    def forward(self, x):
        return super().forward(x)


OUTER = [lambda: torch.autocast("cpu", enabled=False), lambda: torch.autocast("cuda")]


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize(("kind", "precision"), [(Seen, "bfloat16"), (CastsInside, "float32")])
def test_an_outer_autocast_that_is_off_or_of_another_device_leaves_no_casts_of_old_weights(outer, kind, precision):
    """The cache of casts is emptied where the outermost autocast is left, whatever that one casts."""
    expected = losses(made(precision, kind(NUM_FEATURES, NUM_CLASSES)))
    step = made(precision, kind(NUM_FEATURES, NUM_CLASSES))
    with warnings.catch_warnings(action="ignore"), outer():
        assert losses(step) == expected


@pytest.mark.parametrize("kind", [Seen, CastsInside])
def test_averaged_weights_within_an_autocast_are_not_old_casts(kind):
    torch.manual_seed(0)
    model, inputs = kind(NUM_FEATURES, NUM_CLASSES), minibatch()[0][0]
    average = WeightAverage(model, decay=0.5)
    with torch.no_grad():
        model.weight.add_(1)
    with torch.autocast("cpu", torch.bfloat16):
        own = model(inputs)
    with average.applied(), torch.autocast("cpu", torch.bfloat16):
        averaged = model(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            assert torch.equal(model(inputs), own)
            with average.applied():
                assert torch.equal(model(inputs), averaged)


@contextmanager
def gradients_on_within_inference():
    with torch.inference_mode(), torch.enable_grad():
        yield


@pytest.mark.parametrize(
    ("context", "line"),
    [
        (gradients_on_within_inference, "gradients are off: torch.inference_mode"),
        (torch.no_grad, "gradients are off: torch.no_grad or"),
        (torch.inference_mode, "gradients are off: torch.inference_mode"),
        (lambda: torch.set_grad_enabled(False), "gradients are off"),
        (lambda: torch.autocast("cpu", torch.bfloat16), "autocast is on around"),
    ],
)
def test_what_is_around_the_loop_or_leaks_out_of_its_reading_is_refused(context, line):
    step = made()
    with context(), pytest.raises(InputError, match=line):
        step(minibatch())

    def read():
        for number, batch in enumerate(minibatch()):
            if number < 2:
                yield batch
            else:
                with context():
                    yield batch

    with pytest.raises(InputError, match=line):
        made()(read())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("torch.set_num_threads", 2),
        ("torch.set_default_dtype", torch.float64),
        ("torch.set_float32_matmul_precision", "high"),
        ("torch.use_deterministic_algorithms", True),
        ("torch.set_flush_denormal", True),
        ("torch.backends.mkldnn.enabled", False),
        ("torch.backends.cudnn.benchmark", True),
        ("torch.backends.cudnn.allow_tf32", False),
        ("torch.backends.cuda.enable_flash_sdp", False),
    ],
)
def test_a_setting_that_changes_the_bits_is_refused_once_step_is_made(name, value):
    before = SETTINGS[name]()
    step = made()
    step(minibatch())
    place, _, attribute = name.rpartition(".")
    owner = {"torch": torch, "torch.backends.cuda": torch.backends.cuda}.get(place) or getattr(
        torch.backends, place.rpartition(".")[2]
    )
    setting = getattr(owner, attribute)

    def change(value):
        if callable(setting):
            setting(value)
        else:
            setattr(owner, attribute, value)

    try:
        change(value)
        with pytest.raises(InputError, match=f"{name} was .* when Step was made"):
            step(minibatch())
        losses(made())  # a new one has the new setting
    finally:
        change(bool(before) if isinstance(before, int) and isinstance(value, bool) else before)
    if name != "torch.set_float32_matmul_precision":  # "none" has become "ieee"
        step(minibatch())


def test_forces_and_their_loss_have_the_gradient_of_plain_torch_in_float64():
    torch.manual_seed(0)
    model = CASES["forces that train"].model()
    double = copy.deepcopy(model).double()
    made(model=model).backward(minibatch())
    for x, y in minibatch():
        (LOSS(double(x.double()), y).sum() / 16).backward()
    for got, expected in zip(model.parameters(), double.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(got.grad.double(), expected.grad, rtol=1e-5, atol=1e-7)


def test_a_count_is_the_sum_over_all_samples_and_an_average_that_of_the_workers():
    model = CASES["codebook, declared"].model()
    step = Step(
        model,
        LOSS,
        torch.optim.SGD(model.parameters(), lr=0.1),
        minibatch_size=16,
        worker_minibatch_size=4,
        buffers={"*.uses": "sum", "inner.average": "mean"},
    )
    step(minibatch())
    inputs = torch.cat([x for x, _ in minibatch()])
    assert model.inner.uses.tolist() == torch.bincount((inputs.sum(1) > 0).long(), minlength=2).tolist()
    torch.testing.assert_close(model.inner.average, 0.1 * inputs.mean(0))


def test_a_counter_counts_updates_and_not_workers():
    for name in ("float counter", "integer counter", "counter that is replaced"):
        model = CASES[name].model()
        losses(made(model=model), 3)
        assert model.inner.steps.item() == 3


def test_two_values_of_a_buffer_never_have_one_fingerprint():
    device = torch.device("cpu")
    rows = [
        torch.tensor(values)
        for values in ([1, 2], [2, 1], [0, 3], [3, 0], [1.0, 2.0], [0.0, -0.0], [-0.0, 0.0], [True, False], [1, 2, 0])
    ]
    rows += [row.reshape(1, -1) for row in rows] + [torch.zeros(n) for n in range(1, 50)] + [None]
    assert len({tuple(fingerprint(row, device).tolist()) for row in rows}) == len(rows)


def test_a_recipes_model_that_cannot_be_made_or_saved_is_refused_by_name():
    for name, line in (("lazy", "'1.weight' is not initialised yet"), ("sparse_buffer", "'graph' is sparse, which a")):
        recipe = replace(digits(), model=Model(f"user_models:{name}"))
        with pytest.raises(InputError, match=line):
            build_recipe_model(recipe, num_classes=10, in_channels=1)


def test_a_recipe_says_what_becomes_of_a_buffer():
    model = {"name": "user_models:codebook", "buffers": {"us*": "sum"}}
    recipe = from_toml(to_toml(replace(digits(), model=Model(**model))))
    with joined() as machine:
        training = build(recipe, machine, aggregation=AggregationOptions(), loader_workers=0)
        training.step(next(iter(training.minibatches.epoch(0))))
    assert training.model.uses.sum() == recipe.minibatch_size
    with pytest.raises(InputError, match="'a' cannot be 'total'; known are: mean, same, start, sum"):
        Model("resnet18", buffers={"a": "total"})


def test_a_training_whose_forward_pass_makes_a_buffer_is_told_how_to_resume():
    trained = CASES["cache made in forward"].model()
    losses(made(model=trained), 1)
    state = {"model": trained.state_dict(), "buffers": {"inner.table": trained.inner.table}}
    with pytest.raises(InputError, match="must be registered in __init__ to be restored"):
        restore_model(CASES["cache made in forward"].model(), state)
