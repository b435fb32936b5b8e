"""The fields of a recipe that do nothing."""

from dataclasses import replace

import pytest

from bigbatch.planning.plan import at_reference
from bigbatch.recipe import effective_fields, flat_fields
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits


def effective(*settings):
    return effective_fields(flat_fields(with_settings(digits(), settings).to_dict()))


@pytest.mark.parametrize(
    ("size", "setting", "does_nothing"),
    [
        (16, "warmup.kind=none", True),
        (64, "warmup.kind=none", False),
        (16, "warmup.epochs=9", True),
        (16, "scaling.rule=square-root", True),
        (64, "scaling.rule=square-root", False),
        (16, "scaling.weight_decay=timescale", True),
        (64, "scaling.weight_decay=timescale", False),
        (16, "growth.kind=schedule", True),
        (64, "growth.kind=schedule", False),
        (16, "worker_minibatch_size=8", False),
        (16, "epochs=31", False),
        (16, "optimizer.momentum=0.8", False),
        (64, "growth.noise_fraction=0.5", True),
        (64, "schedule.factor=0.2", False),
        (16, "reference.learning_rate=0.1", False),
    ],
)
def test_what_makes_no_difference_to_the_training_is_in_no_field(size, setting, does_nothing):
    same = effective(f"minibatch_size={size}") == effective(f"minibatch_size={size}", setting)
    assert same == does_nothing


def test_below_the_reference_there_is_no_warmup_but_a_scaling():
    small = ("worker_minibatch_size=8", "minibatch_size=8")
    assert effective(*small, "warmup.kind=none") == effective(*small)
    assert effective(*small, "scaling.rule=none") != effective(*small)


def test_a_minibatch_that_grows_from_the_reference_has_no_warmup_and_one_from_above_has():
    grows = ("minibatch_size=256", "growth.kind=schedule")
    assert "warmup.kind" not in effective(*grows)
    assert "warmup.kind" in effective(*grows, "growth.start=64")


def test_the_reference_of_larger_workers_is_that_of_its_own():
    large = replace(digits(), minibatch_size=64, worker_minibatch_size=32)
    assert effective_fields(flat_fields(at_reference(large).to_dict())) == effective()
    assert effective_fields({"scaling.rule": ["odd"], "minibatch_size": "?"}) == {
        "scaling.rule": ["odd"],
        "minibatch_size": "?",
    }
