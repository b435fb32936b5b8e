"""What judges a run, by name: its unit and direction, and how runs record it."""

import json
import math
import re

import pytest

from bigbatch.errors import InputError
from bigbatch.recipe import differences
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.metrics import MEAN_IOU, MEAN_LOSS, MEASURES, TOP_1_ERROR, UNKNOWN, Measure, read_measure
from bigbatch.recipe.presets import digits
from bigbatch.runs.metrics import EpochLine, parse_line
from bigbatch.runs.summary import Summary


def test_a_recipe_without_metrics_is_judged_by_its_top_1_error():
    text = re.sub(r"(?ms)^metrics = \[.*?^\]$", "", to_toml(digits()))
    assert "top-1-error" not in text
    assert from_toml(text) == digits()
    assert digits().metrics == ("top-1-error",)
    assert not differences(from_toml(text), digits())


def test_a_recipe_names_its_metrics_and_the_first_one_judges():
    recipe = with_settings(digits(), ['metrics=["mean-iou", "mean-loss", "own.module:metric"]'])
    assert recipe.metrics == ("mean-iou", "mean-loss", "own.module:metric")
    assert recipe.user_code == ("own.module:metric",)
    assert differences(digits(), recipe) == [f"metrics: ('top-1-error',) -> {recipe.metrics}"]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("[]", "at least one metric"),
        ('["mean-iuo"]', "did you mean 'mean-iou'?"),
        ('["mean-loss", "mean-loss"]', "names 'mean-loss' twice"),
        ("mean-loss", "must be a list"),
        ("[3]", "must be a string"),
    ],
)
def test_other_metrics_are_refused(names, complaint):
    with pytest.raises(InputError, match=complaint.replace("?", r"\?")):
        with_settings(digits(), [f"metrics={names}"])


@pytest.mark.parametrize("measure", [*MEASURES.values(), Measure("word-error-rate", "%", "lower")])
def test_the_best_is_the_lowest_or_the_highest_as_the_measure_says_and_never_nan(measure):
    low, high = (1.0, 2.0) if measure.better == "lower" else (2.0, 1.0)
    assert measure.is_better(low, high)
    assert not measure.is_better(high, low)
    assert not measure.is_better(low, low)
    assert measure.best([high, math.nan, low]) == low
    assert not measure.is_better(math.nan, high)


def test_a_measure_is_read_from_json_with_mistrust():
    assert read_measure(json.loads(json.dumps(MEAN_IOU.to_json()))) == MEAN_IOU
    for damaged in (
        None,
        7,
        {},
        {"name": "a", "unit": 1, "better": "lower"},
        {"name": "a", "unit": "", "better": "up"},
    ):
        assert read_measure(damaged) == UNKNOWN


def test_only_a_top_1_error_is_called_an_error():
    assert TOP_1_ERROR.label == "validation error"
    assert all("error" not in measure.heading for measure in MEASURES.values() if "error" not in measure.name)
    assert MEAN_IOU.heading == "validation mean IoU (%)"
    assert (MEAN_IOU.text(71.2345), MEAN_LOSS.text(0.123456)) == ("71.23 %", "0.1235")


def test_old_runs_are_read_as_top_1_errors():
    summary = Summary.read({"status": "finished", "validation_error": 2.5, "final_validation_error": 2.0})
    assert (summary.metric, summary.result, summary.final_result) == (TOP_1_ERROR, 2.5, 2.0)
    line = EpochLine.read({"epoch": 1, "validation_error": 9.0})
    assert (line.validation, line.result) == ({"top-1-error": 9.0}, 9.0)


def test_what_is_no_top_1_error_is_never_recorded_as_one():
    table = Summary.read({"status": "finished", "metric": MEAN_IOU.to_json(), "result": 71.0, "final_result": 72.0})
    assert (table.metric, table.result) == (MEAN_IOU, 71.0)
    assert not [name for name in table.to_json() if "error" in name]
    line = EpochLine(epoch=1, iteration=5, loss=0.5, validation={"mean-iou": 71.0, "top-1-error": 3.0}, seconds=1.0)
    assert "validation_error" not in line.to_json()
    assert parse_line(json.dumps(line.to_json()).encode()).result == 71.0


def test_a_missing_value_of_the_first_metric_is_not_another_metrics_value():
    assert EpochLine.read({"epoch": 1, "validation": {"mean-iou": None, "mean-loss": 0.3}}).result is None
