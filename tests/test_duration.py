"""How long a training and its warmups are: in epochs, in iterations of the reference, or in samples."""

import json
import math
from dataclasses import replace
from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.planning.plan import Plan
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.course import course_of, largest_size
from bigbatch.recipe.file import from_table, from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.warnings import warnings_of
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.rules.learning_rate import LearningRate
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

N = 1280  # samples of the digits
KINDS = ["", "growth.kind=schedule", "growth.kind=noise-scale", "scaling.rule=adascale"]
MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)


def recipe_with(*changes):
    """Return the digits' recipe with changes; its milestones, which are in epochs, are left out with another unit."""
    in_epochs = not any(change.startswith(("iterations=", "samples=")) for change in changes)
    return with_settings(digits(), changes if in_epochs else ["schedule.milestones=[]", *changes])


def follow(course, noise=None):
    """Go to the end; return the epoch of every update."""
    epochs = []
    while not course.is_over:
        while not course.is_epoch_over:
            course.observe(noise)
            epochs.append(course.now.epoch)
            course.advance()
        course.end_epoch()
    return epochs


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([16, 32, 64, 256, 1280]), st.integers(1, 3000))
def test_iterations_are_the_references_and_every_size_takes_as_many_samples(size, iterations):
    in_iterations = course_of(recipe_with(f"minibatch_size={size}", f"iterations={iterations}", "warmup.kind=none"), N)
    in_samples = course_of(recipe_with(f"minibatch_size={size}", f"samples={16 * iterations}", "warmup.kind=none"), N)
    updates = follow(in_iterations)
    assert len(updates) == in_iterations.total_iterations == in_samples.total_iterations
    assert abs(len(updates) * size - 16 * iterations) <= size / 2
    assert len(set(updates)) == in_iterations.total_epochs


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0.1, 9), st.sampled_from(["", "growth.kind=schedule", "growth.kind=noise-scale", "scaling.rule=adascale"])
)
def test_the_last_epoch_may_be_cut_short_in_every_course(epochs, kind):
    changes = ["minibatch_size=128", f"epochs={epochs!r}", "warmup.kind=none", "schedule.milestones=[1,2]"]
    changes += [kind] if kind else []
    changes += ["growth.start=32"] if "noise-scale" in kind else []
    course = course_of(recipe_with(*changes), N)
    updates = follow(course, GradientNoise(1.0, 100.0))
    lengths = [len(list(group)) for _, group in groupby(updates)]
    assert course.is_over
    assert course.now.iteration == len(updates) == course.total_iterations
    assert course.total_epochs == len(lengths)
    if not kind:
        assert lengths[:-1] == [10] * int(len(updates) / 10 - 1e-9)
        assert len(updates) == max(round(10 * epochs), 0)


def test_milestones_and_warmup_in_the_unit_of_the_length():
    """2400 iterations of 16: drops at 1200 and 2000, a warmup of 240. At 128 each is an eighth."""
    course = course_of(
        recipe_with(
            "minibatch_size=128", "iterations=2400", "schedule.milestones=[1200,2000]", "warmup.iterations=240"
        ),
        N,
    )
    rate = course.schedule
    assert (rate.warmup_iterations, rate.milestone_iterations, rate.total_iterations) == (30, (150, 250), 300)
    assert rate == course_of(recipe_with("minibatch_size=128"), N).schedule
    in_samples = "samples=38400", "schedule.milestones=[19200,32000]", "warmup.samples=3840"
    assert course_of(recipe_with("minibatch_size=128", *in_samples), N).schedule == rate
    restarts = recipe_with(
        "iterations=2400", "schedule.kind=cosine", "schedule.period=800", "minibatch_size=128", "warmup.kind=none"
    )
    assert course_of(restarts, N).schedule.options["period"] == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": 100}, "epochs and iterations are given: one of them says how long it is"),
        ({"epochs": 0, "iterations": 100, "samples": 2}, "iterations and samples are given"),
        ({"epochs": 0}, "epochs must be a number above 0, not 0"),
        ({"epochs": -1.5}, "epochs must be a number above 0, not -1.5"),
        ({"epochs": math.nan}, "epochs must be a number above 0, not nan"),
        ({"epochs": 0, "iterations": -1}, "iterations must be a number of at least 0, not -1"),
        ({"epochs": 0, "iterations": 1.5}, "iterations must be a whole number, not 1.5"),
        ({"epochs": 0, "iterations": 100, "minibatch_size": 64}, r"set warmup.iterations or warmup.samples, or"),
        ({"warmup": {"iterations": 3, "samples": 4}}, "warmup.iterations and warmup.samples are given"),
        ({"warmup": {"iterations": 3, "epochs": 4}}, "warmup.epochs and warmup.iterations are given"),
        ({"reference": {"warmup_start": 0.1}}, "reference.warmup_start needs reference.warmup_epochs"),
        ({"reference": {"warmup_start": 1.0, "warmup_epochs": 1}}, "reference.warmup_start must be"),
        ({"reference": {"warmup_samples": 4, "warmup_epochs": 1}}, "are given"),
        ({"reference": {"warmup_epochs": 1}, "schedule": {"kind": "one-cycle"}}, "warms up by itself"),
    ],
)
def test_two_lengths_or_none_are_refused(changes, message):
    table = digits().to_dict()
    for key, value in changes.items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    with pytest.raises(InputError, match=message):
        course_of(from_table(table), N)


def test_a_setting_takes_the_place_of_the_same_duration_in_another_unit():
    recipe = recipe_with("iterations=100", "warmup.samples=4", "reference.warmup_iterations=7")
    assert (str(recipe.length), str(recipe.warmup.duration), str(recipe.reference.warmup)) == (
        *("100 iterations of the reference", "4 samples", "7 iterations of the reference"),
    )
    assert recipe_with("iterations=100", "epochs=2").epochs == 2
    assert from_toml(to_toml(recipe)) == recipe
    assert (repr(recipe_with("epochs=4.0").epochs), recipe_with("epochs=2.5").epochs) == ("4", 2.5)
    assert replace(digits(), epochs=0, samples=99).length.amount == 99


def test_milestones_in_epochs_are_not_read_as_iterations():
    for change in ("iterations=100", "samples=100"):
        with pytest.raises(InputError, match=r"schedule.milestones = \(15.0, 25.0\) is in epochs, and"):
            with_settings(digits(), [change])
    periods = with_settings(digits(), ["schedule.kind=cosine", "schedule.period=2"])
    with pytest.raises(InputError, match=r"schedule.period = 2.0 is in epochs"):
        with_settings(periods, ["iterations=100"])
    assert with_settings(digits(), ["iterations=100", "schedule.kind=cosine"]).iterations == 100


def test_it_is_warned_of_what_is_never_reached_in_any_unit():
    assert (
        "within the warmup" in warnings_of(recipe_with("iterations=100", "warmup.samples=1600", "minibatch_size=64"))[0]
    )
    assert (
        "milestones [100.0] are never" in warnings_of(recipe_with("iterations=100", "schedule.milestones=[50,100]"))[0]
    )
    assert (
        "within the warmup of 500 iterations of the reference"
        in warnings_of(recipe_with("iterations=100", "reference.warmup_iterations=500", "schedule.milestones=[]"))[0]
    )


def test_a_long_training_that_grows_by_the_schedule_is_planned_at_once():
    changes = ["minibatch_size=256", "growth.kind=schedule", "samples=1000000000", "schedule.milestones=[500000000]"]
    assert largest_size(recipe_with(*changes)) == 128


# The reference's own warmup


def own(size, *changes, kind="constant"):
    warmup = "reference.warmup_epochs=2", "reference.warmup_start=0.1"
    return course_of(recipe_with(f"minibatch_size={size}", *warmup, f"schedule.kind={kind}", *changes), N).schedule


def test_at_the_reference_and_below_its_warmup_is_kept_as_written():
    for size in (16, 8):
        rate = own(size, "worker_minibatch_size=8")
        full, length = 0.05 * size / 16, 2 * N // size
        assert [rate(0), rate(length / 2), rate(length)] == pytest.approx([0.1 * full, 0.55 * full, full])


def test_above_it_the_two_warmups_multiply_and_keep_their_samples():
    """It starts as the reference does; after two epochs the paper's gradual warmup is alone."""
    rate, plain = own(256), course_of(recipe_with("minibatch_size=256", "schedule.kind=constant"), N).schedule
    assert rate(0) == pytest.approx(0.1 * 0.05)
    assert rate(5) == pytest.approx(0.55 * plain(5))
    assert [rate(i) for i in range(10, 100)] == [plain(i) for i in range(10, 100)]
    alone = own(256, "warmup.kind=none")
    assert [alone(0), alone(5), alone(10)] == pytest.approx([0.08, 0.55 * 0.8, 0.8])


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_what_spans_the_time_after_the_warmup_starts_after_the_longer_one(kind):
    for warmup, start in (("warmup.epochs=1", 10), ("warmup.epochs=4", 20)):
        rate = own(256, warmup, kind=kind)
        assert rate(start) == pytest.approx(0.8)
        assert rate(start + 1) < 0.8


def test_linear_warmup_and_decay_are_those_of_a_language_model():
    """As transformers' get_linear_schedule_with_warmup: up from 0, then down to 0."""
    rate = LearningRate(1.0, 1.0, "none", 0, "linear", (), 0.1, 100, own_warmup_iterations=20)
    expected = [step / 20 if step < 20 else (100 - step) / 80 for step in range(100)]
    assert [rate(step) for step in range(100)] == pytest.approx(expected)


# In a training


def test_a_fractional_length_is_evaluated_at_its_end_and_resumed_within_its_last_epoch(tmp_path):
    recipe = recipe_with("minibatch_size=256", "epochs=1.6", "model.width=4", "average.decay=0.9")
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    assert (whole.status, whole.iterations) == ("finished", 8)
    lines = RunFolder(tmp_path / "whole").read_epochs()
    assert [(line.epoch, line.iteration) for line in lines] == [(1, 5), (2, 8)]
    assert whole.final_result == lines[-1].result
    for stop in (6, 8):
        part = RunFolder(tmp_path / f"part{stop}")
        train(recipe, part, MACHINE, stop_after_iteration=stop)
        again = train(recipe, part, MACHINE)
        assert (again.weights_sha256, again.status) == (whole.weights_sha256, "finished")
        assert len(part.read_epochs()) == 2


def test_a_training_shorter_than_an_epoch(tmp_path):
    recipe = recipe_with("minibatch_size=256", "iterations=32", "model.width=4", "warmup.kind=none")
    summary = train(recipe, RunFolder(tmp_path / "run"), MACHINE)
    assert (summary.iterations, summary.status) == (2, "finished")
    assert summary.result is not None
    recorded = json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]
    assert (recorded["iterations"], recorded["epochs"]) == (32, 0)


def test_the_plan_tells_length_and_own_warmup():
    plan = Plan(
        recipe_with("minibatch_size=256", "iterations=2000", "warmup.kind=none", "reference.warmup_iterations=160"), N
    )
    values = plan.to_json((0,))
    assert (values["length"], values["total_iterations"], values["epochs"]) == (
        "2000 iterations of the reference",
        125,
        25,
    )
    rows = {row.name: row for row in plan.rows()}
    assert (rows["total_iterations"].before, rows["total_iterations"].after) == ("2000", "125")
    assert (rows["own_warmup_iterations"].before, rows["own_warmup_iterations"].after) == ("160", "10")
