"""Predict minibatch sizes from a run's measured noise."""

import json

import pytest

from bigbatch.cli.output.plan import _print_noise
from bigbatch.errors import InputError
from bigbatch.planning.noise import plan_by_noise, prices
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.metrics import MEAN_IOU
from bigbatch.recipe.presets import digits
from bigbatch.runs.metrics import read_line
from bigbatch.runs.record import read_record


def record(folder, scales, square=2.0):
    folder.append_metrics(
        *(
            read_line({"iteration": 5 * i, "loss": 1.0, "gradient_square": square, "gradient_variance": 2.0 * scale})
            for i, scale in enumerate(scales)
        )
    )
    return read_record(folder.path)


def test_the_thirds_of_a_run_and_the_whole(record_run):
    plan = plan_by_noise(record(record_run("a"), [100.0] * 200 + [400.0] * 200 + [1000.0] * 200), reference=16)
    assert (plan.early, plan.middle, plan.late, plan.scale) == (100.0, 400.0, 1000.0, 500.0)
    assert json.loads(json.dumps(plan.to_json()))["noise_scale"]["whole"] == plan.scale
    assert "At this size a training takes twice the fewest samples" in plan.advice
    assert "arXiv 1811.03600" in plan.advice


def test_at_the_noise_scale_a_minibatch_costs_twice_the_samples_and_twice_the_fewest_iterations():
    """Against a reference far below, of which an iteration is all noise: the two halves of eq. 2.11."""
    at = next(price for price in prices(4096.0, reference=1) if price.minibatch_size == 4096)
    assert at.samples == pytest.approx(2.0, rel=1e-3)
    assert at.iterations * 4096 == pytest.approx(2.0, rel=1e-3)
    for price in prices(512.0, reference=64):  # samples are iterations times the size
        assert price.samples == pytest.approx(price.iterations * price.minibatch_size / 64)
    assert [price.minibatch_size for price in prices(0.5, reference=64)] == [64]


def test_too_little_was_measured(record_run):
    with pytest.raises(
        InputError, match="has measured the gradient's noise 3 times; it takes a training of at least 10"
    ):
        plan_by_noise(record(record_run("a"), [1.0] * 3), reference=16)


def test_a_signal_that_drowns_says_nothing(record_run):
    with pytest.raises(InputError, match="drowns in its noise"):
        plan_by_noise(record(record_run("a"), [50.0] * 40, square=-1.0), reference=16)


@pytest.mark.parametrize("damaged", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_measurement(record_run, damaged):
    assert plan_by_noise(record(record_run("a"), [80.0] * 20 + [damaged] + [80.0] * 20), reference=16).scale == 80.0


@pytest.mark.parametrize("scale", [0.0, -1e-9])
def test_where_the_workers_agree_there_is_nothing_to_plan_by(record_run, scale):
    with pytest.raises(InputError, match="there is no noise to plan by"):
        plan_by_noise(record(record_run("a"), [scale] * 40), reference=16)


def test_through_the_command(bigbatch, record_run, tmp_path):
    recipe = with_settings(digits(), ["minibatch_size=64"])
    record(record_run("measured", recipe, recipe=recipe.to_dict()), [80.0] * 40)
    done = bigbatch("plan", "digits", "--minibatch-size", 256, "--noise-of", tmp_path / "measured")
    assert done.returncode == 0, done.stderr
    assert "(minibatch 64, error 2.00 %): 80 early, 80 midway, 80 late in training (samples)" in done.stdout
    assert "well below 80 samples" in done.stdout
    other = bigbatch("plan", "digits", "--set", "model.width=8", "--noise-of", tmp_path / "measured")
    assert other.returncode == 2
    assert "is a run of another model" in other.stderr


@pytest.mark.parametrize(
    ("fields", "said"), [({"result": 61.234}, "mean IoU 61.23 %"), ({}, "no validation mean IoU yet")]
)
def test_the_runs_result_is_that_of_its_metric(record_run, capsys, fields, said):
    run = record(record_run("a", metric=MEAN_IOU.to_json(), validation_error=None, **fields), [80.0] * 40)
    plan = plan_by_noise(run, reference=16)
    assert (plan.measure, plan.result) == (MEAN_IOU, fields.get("result"))
    assert "validation_error" not in plan.to_json()
    assert plan.to_json()["metric"]["name"] == "mean-iou"
    _print_noise(plan)
    printed = capsys.readouterr().out
    assert f"(minibatch 16, {said})" in printed
    assert "error" not in printed
    assert "accuracy" not in printed
