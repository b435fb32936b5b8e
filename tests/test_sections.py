"""Each section of a recipe refuses its own wrong values; the recipe refuses what concerns several sections."""

import subprocess
import sys
from dataclasses import replace

import pytest

from bigbatch.errors import InputError
from bigbatch.recipe import (
    MAX_SEED,
    Average,
    Checkpoints,
    Data,
    Growth,
    Launch,
    Model,
    Optimizer,
    Reference,
    Scaling,
    Schedule,
    Seeds,
    Warmup,
)
from bigbatch.recipe.file import from_table, with_settings
from bigbatch.recipe.presets import digits


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        (Average, {"decay": 1.0}, "average.decay must be a number of at least 0 and below 1, not 1.0"),
        (Checkpoints, {"keep": 0}, "checkpoints.keep must be a number of at least 1, not 0"),
        (Checkpoints, {"every_seconds": -1.0}, "checkpoints.every_seconds must be a number of at least 0, not -1.0"),
        (Data, {"name": "digits", "augmentation": ("flop",)}, "data.augmentation 'flop' is unknown; did you mean"),
        (Data, {"name": "digits", "image_size": 8193}, "data.image_size must be at most 8192, not 8193"),
        (Data, {"name": "digits", "num_train_samples": -1}, "data.num_train_samples must be a number of at least 0"),
        (Data, {"name": "digits", "arguments": {"a": 1}}, "data.arguments is for package.module:callable; 'digits'"),
        (Growth, {"kind": "noise"}, "growth.kind 'noise' is unknown; did you mean"),
        (Growth, {"noise_fraction": 0.0}, "growth.noise_fraction must be a number above 0, not 0.0"),
        (Launch, {"timeout_seconds": float("nan")}, "launch.timeout_seconds must be a number above 0 and at most 1e9"),
        (Launch, {"max_restarts": -1}, "launch.max_restarts must be a number of at least 0, not -1"),
        (Launch, {"on_nonfinite": "skipp"}, "launch.on_nonfinite 'skipp' is unknown; did you mean 'skip'?"),
        (Model, {"name": "resnet51"}, "unknown model 'resnet51'; did you mean 'resnet50'?"),
        (Model, {"name": "resnet50", "dropout": 1.0}, "model.dropout must be below 1, not 1.0"),
        (Model, {"name": "resnet50", "width": 65_537}, "model.width must be at most 65536, not 65537"),
        (Model, {"name": "a:b", "arguments": {"a": None}}, "model.arguments must be plain values"),
        (Optimizer, {"momentum": 0.0}, "optimizer.nesterov needs a momentum above 0"),
        (Optimizer, {"weight_decay": float("inf")}, "optimizer.weight_decay must be a number of at least 0, not inf"),
        (Optimizer, {"name": "sdg"}, "unknown optimizer 'sdg'; did you mean 'sgd'?"),
        (Reference, {"minibatch_size": 0, "learning_rate": 0.1}, "reference.minibatch_size must be a number above 0"),
        (Reference, {"minibatch_size": 1, "learning_rate": 0.0}, "reference.learning_rate must be a number above 0"),
        (Reference, {"minibatch_size": 2**53 + 1, "learning_rate": 0.1}, "reference.minibatch_size must be at most"),
        (Scaling, {"rule": "liner"}, "scaling.rule 'liner' is unknown; did you mean 'linear'?"),
        (Scaling, {"weight_decay": "kept"}, "scaling.weight_decay 'kept' is unknown; did you mean 'keep'?"),
        (Schedule, {"milestones": (20.0, 10.0)}, "schedule.milestones must rise, not [20.0, 10.0]"),
        (Schedule, {"milestones": (-1.0,)}, "schedule.milestones[0] must be a number of at least 0, not -1.0"),
        (Schedule, {"kind": "cosin"}, "schedule.kind 'cosin' is unknown; did you mean 'cosine'?"),
        (Schedule, {"factor": 0.0}, "schedule.factor must be a number above 0, not 0.0"),
        (Seeds, {"order": -2}, f"seeds.order must be between 0 and {MAX_SEED}, or -1 for the recipe's seed, not -2"),
        (Warmup, {"kind": "gradul"}, "warmup.kind 'gradul' is unknown; did you mean 'gradual'?"),
        (Warmup, {"epochs": 2e9}, "warmup.epochs must be at most 1000000000, not 2000000000.0"),
    ],
)
def test_a_section_refuses_alone(section, fields, message):
    with pytest.raises(InputError) as error:
        section(**fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_table_that_a_section_refuses_names_its_source():
    table = digits().to_dict()
    table["optimizer"]["momentum"] = 2
    with pytest.raises(InputError, match=r"^my\.toml: optimizer\.momentum must be below 1, not 2\.0$"):
        from_table(table, source="my.toml")


def test_settings_apply_together_though_one_alone_would_be_refused():
    plain = with_settings(digits(), ["optimizer.momentum=0", "optimizer.nesterov=false"])
    assert plain.optimizer == replace(digits().optimizer, nesterov=False, momentum=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["schedule.factor=1e300", "schedule.milestones=[1, 2]"], "the learning rate becomes infinite: 0.05 after"),
        (["loss=cross-entropi"], "unknown loss 'cross-entropi'"),
        (["epochs=1000000001"], "epochs must be at most 1000000000, not 1000000001"),
        (["worker_minibatch_size=0"], "worker_minibatch_size must be at least 1, not 0"),
    ],
)
def test_the_recipe_refuses_what_stands_in_no_section_or_in_several(settings, message):
    with pytest.raises(InputError) as error:
        with_settings(digits(), settings)
    assert message in str(error.value)


def test_a_recipe_needs_neither_torch_nor_numpy():
    code = "import bigbatch.recipe.presets, sys; assert not {'torch', 'numpy'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
