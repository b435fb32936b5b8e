"""Recipes: frozen, strict, in and out of TOML."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.recipe import MAX_SEED, Data, Model, Warmup, differences
from bigbatch.recipe.file import from_toml, read_recipe, to_toml, with_settings
from bigbatch.recipe.presets import PRESETS, digits, find_recipe, imagenet_resnet50


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_goes_through_toml_unchanged(name):
    recipe = PRESETS[name]()
    assert from_toml(to_toml(recipe)) == recipe
    assert differences(recipe, from_toml(to_toml(recipe))) == []
    assert recipe.name == name


@given(st.integers(1, 50), st.integers(1, 50), st.floats(1e-6, 1e3), st.integers(0, MAX_SEED), st.floats(0, 100))
def test_any_recipe_goes_through_toml_unchanged(n, k, rate, seed, warmup):
    recipe = replace(
        digits(),
        worker_minibatch_size=n,
        minibatch_size=n * k,
        seed=seed,
        reference=replace(digits().reference, learning_rate=rate),
        warmup=Warmup("constant", warmup),
        model=Model("my.module:net", arguments={"depth": 3, "names": ["a", "b"]}),
        data=Data("digits", augmentation=("crop", "flip"), path='a "quoted" path'),
    )
    assert from_toml(to_toml(recipe)) == recipe


def refused(text, source="recipe"):
    with pytest.raises(InputError) as error:
        from_toml(text, source=source)
    return str(error.value)


def test_strictness():
    text = to_toml(digits())
    assert "not valid TOML" in refused(text + "\n[data\n", "my.toml")
    assert refused(text + "\n[data\n", "my.toml").startswith("my.toml")
    assert "not valid TOML: Cannot overwrite a value" in refused("seed = 1\nseed = 2\n" + text)
    assert "unknown key 'sead'; did you mean 'seed'?" in refused(text.replace("seed = 0", "sead = 0"))
    assert "unknown key 'warmup.epoch'; did you mean 'epochs'?" in refused(text.replace("epochs = 3.0", "epoch = 3.0"))
    assert "the key 'epochs' is missing" in refused(text.replace("epochs = 30\n", ""))
    assert "iterations must be a whole number, not 30.5" in refused(
        text.replace("iterations = 0\n", "iterations = 30.5\n", 1)
    )
    assert "epochs must be a number, not True" in refused(text.replace("epochs = 30\n", "epochs = true\n"))
    assert "optimizer.nesterov must be true or false, not 1" in refused(text.replace("nesterov = true", "nesterov = 1"))
    assert "data must be a table, not 'digits'" in refused('data = "digits"\n' + text.split("[data]")[0])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reference.learning_rate=-0.1", "reference.learning_rate must be a number above 0, not -0.1"),
        ("reference.learning_rate=nan", "reference.learning_rate must be a number above 0, not nan"),
        ("reference.learning_rate=inf", "reference.learning_rate must be a number above 0, not inf"),
        ("epochs=0", "epochs must be a number above 0, not 0"),
        ("warmup.epochs=-1", "warmup.epochs must be a number of at least 0, not -1.0"),
        ("optimizer.momentum=1.5", "optimizer.momentum must be below 1, not 1.5"),
        ("optimizer.momentum=0", "optimizer.nesterov needs a momentum above 0; set optimizer.nesterov = false"),
        ("optimizer.weight_decay=nan", "optimizer.weight_decay must be a number of at least 0, not nan"),
        ("scaling.rule=liner", "scaling.rule 'liner' is unknown; did you mean 'linear'?"),
        ("schedule.kind=cosin", "schedule.kind 'cosin' is unknown; did you mean 'cosine'?"),
        ("warmup.kind=gradul", "warmup.kind 'gradul' is unknown; did you mean 'gradual'?"),
        ("schedule.milestones=[20.0, 10.0]", "schedule.milestones must rise, not [20.0, 10.0]"),
        ("schedule.milestones=15", "schedule.milestones must be a list, not 15"),
        ("schedule.milestones=['a']", "schedule.milestones[0] must be a number, not 'a'"),
        ("model.name=resnet51", "unknown model 'resnet51'; did you mean 'resnet50'?"),
        ("model.name=cifar-resnet9", "unknown model 'cifar-resnet9'; did you mean 'cifar-resnet"),
        ("data.augmentation=['flop']", "data.augmentation 'flop' is unknown; did you mean 'flip'?"),
        ("seed=-1", f"seed must be between 0 and {MAX_SEED}, not -1"),
        ("name=../up", "name '../up' must be letters, digits, dots and dashes"),
        ("precision=float16", "precision 'float16' is unknown; did you mean 'bfloat16'?"),
        (
            "optimiser.momentum=0.5",
            "unknown section 'optimiser' in --set optimiser.momentum; did you mean 'optimizer'?",
        ),
        ("optimizer.momentun=0.5", "unknown key 'optimizer.momentun'; did you mean 'momentum'?"),
        ("epochs", "--set epochs: write section.field=value"),
        ("=3", "--set =3: write section.field=value"),
        (
            "minibatch_size=40",
            "minibatch_size 40 is not divisible by worker_minibatch_size 16; the nearest are 32 and 48",
        ),
    ],
)
def test_settings_out_of_range_are_refused_with_the_way_out(setting, message):
    with pytest.raises(InputError) as error:
        with_settings(digits(), [setting])
    assert message in str(error.value)


def test_settings_apply_together_and_the_last_wins():
    recipe = with_settings(digits(), ["worker_minibatch_size=8", "minibatch_size=24", "seed=1", "seed=2"])
    assert (recipe.worker_minibatch_size, recipe.minibatch_size, recipe.seed) == (8, 24, 2)
    own = with_settings(digits(), ["model.name=my.module:net", "model.arguments={depth = 3}"])
    assert own.model.arguments == {"depth": 3}
    assert with_settings(digits(), ["data.path=/a/b c"]).data.path == "/a/b c"
    assert with_settings(digits(), ["warmup.epochs=2"]).warmup.epochs == 2.0


def test_differences_name_field_and_values():
    changed = with_settings(
        digits(), ["minibatch_size=32", "optimizer.momentum=0.8", "model.name=a:b", "model.arguments={c = 1}"]
    )
    assert differences(digits(), changed) == [
        "minibatch_size: 16 -> 32",
        "model.arguments.c: None -> 1",
        "model.name: cifar-resnet8 -> a:b",
        "optimizer.momentum: 0.9 -> 0.8",
    ]


def test_recipes_are_found_by_name_or_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(digits()))
    assert find_recipe(str(path)) == digits()
    with pytest.raises(InputError, match="'digit' is neither a preset nor a TOML file; did you mean 'digits'"):
        find_recipe("digit")
    with pytest.raises(InputError, match=r"cannot read the recipe .*none.toml: No such file"):
        find_recipe(str(tmp_path / "none.toml"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="it is not UTF-8 text"):
        read_recipe(path)
    path.write_bytes(b"#" * 100_001)
    with pytest.raises(InputError, match="larger than 100000 bytes"):
        read_recipe(path)


def test_the_imagenet_preset_is_the_papers():
    """ArXiv 1706.02677, sections 2.2 and 5.1."""
    recipe = replace(imagenet_resnet50(), minibatch_size=8192)
    rate = recipe.learning_rate(recipe.sampling(1_281_167).iterations_per_epoch)
    assert recipe.base_learning_rate == pytest.approx(3.2, abs=1e-12)
    assert recipe.worker_count == 256
    assert rate.total_iterations == 90 * 156
    assert rate.milestone_iterations == (30 * 156, 60 * 156, 80 * 156)
    assert (rate.warmup, rate.warmup_iterations, rate(0)) == ("gradual", 5 * 156, 0.1)
    assert [rate(i) for i in (780, 4680, 9360, 12480)] == pytest.approx([3.2, 0.32, 0.032, 0.0032])
    optimizer = recipe.optimizer
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.9, True, 1e-4)
    assert not optimizer.weight_decay_on_norms
    assert replace(recipe, minibatch_size=256).warmup_epochs == 0
