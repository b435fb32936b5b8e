"""`bigbatch recipe` prints the recipe itself, and each field's meaning comes from one place."""

import re
import runpy
import subprocess
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.cli import main
from bigbatch.data.names import NUM_TRAIN_SAMPLES
from bigbatch.errors import InputError
from bigbatch.recipe import PRECISIONS, Data, Model, Optimizer, Recipe
from bigbatch.recipe.commented import NOT_SET, to_commented_toml
from bigbatch.recipe.descriptions import descriptions_of, summary_of
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.losses import LOSSES
from bigbatch.recipe.metrics import MEASURES
from bigbatch.recipe.numerics import NUMERICS
from bigbatch.recipe.presets import PRESETS, digits
from bigbatch.recipe.sections.data import AUGMENTATIONS
from bigbatch.recipe.sections.growth import GROWTHS
from bigbatch.recipe.sections.launch import OBSERVERS, ON_NONFINITE
from bigbatch.recipe.sections.model import BUFFER_ROLES
from bigbatch.recipe.sections.optimizer import OPTIMIZERS
from bigbatch.recipe.sections.scaling import WEIGHT_DECAY_RULES
from bigbatch.recipe.sections.schedule import KINDS
from bigbatch.rules.learning_rate import WARMUPS
from bigbatch.rules.scaling import SCALING_RULES
from bigbatch.rules.schedules import DECAYS

DOCS = Path(__file__).parents[1] / "docs"
BEHIND_A_HASH = re.compile(r"^#(?=[a-z_]+ = (?!\(not set\)))", re.MULTILINE)
KINDS_OF = get_type_hints(Recipe)
PARTS = {"": Recipe} | {name: kind for name, kind in KINDS_OF.items() if is_dataclass(kind)}
CHOICES = {
    "data.augmentation": AUGMENTATIONS,
    "data.name": NUM_TRAIN_SAMPLES,
    "growth.kind": GROWTHS,
    "launch.observers": OBSERVERS,
    "launch.on_nonfinite": ON_NONFINITE,
    "loss": LOSSES,
    "metrics": MEASURES,
    "model.buffers": BUFFER_ROLES,
    "optimizer.name": OPTIMIZERS,
    "numerics": NUMERICS,
    "precision": PRECISIONS,
    "scaling.rule": SCALING_RULES,
    "scaling.weight_decay": WEIGHT_DECAY_RULES,
    "schedule.decay": DECAYS,
    "schedule.kind": KINDS,
    "warmup.kind": WARMUPS,
}
SHORT = (
    with_settings(digits(), ["minibatch_size=256", "epochs=0.5", "optimizer.name=lamb", "metrics=['mean-iou', 'a:b']"]),
    with_settings(digits(), ["iterations=500", "warmup.iterations=50", "schedule.kind=cosine"]),
    replace(digits(), optimizer=Optimizer("my.module:optimizer", arguments={"rate": 1e-3, "groups": [{"a": 1}, {}]})),
    replace(digits(), optimizer=Optimizer("adamw")),
)

each_recipe = pytest.mark.parametrize("recipe", [*(preset() for preset in PRESETS.values()), *SHORT])
each_part = pytest.mark.parametrize("part", PARTS)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Return a function that runs a command in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        exit_code = main(list(map(str, arguments)))
        return subprocess.CompletedProcess(arguments, exit_code, *capsys.readouterr())

    return run


@each_recipe
def test_what_is_printed_is_the_recipe(recipe):
    assert from_toml(to_commented_toml(recipe, "A heading.\n\nOf two paragraphs.")) == recipe


@each_recipe
def test_only_what_differs_from_the_defaults_is_set(recipe):
    """Without a line that is set, it is another recipe, or none."""
    text = to_commented_toml(recipe)
    lines = [f"\n{line}\n" for line in text.splitlines() if " = " in line and not line.startswith("#")]
    assert len(lines) < (30 if recipe.name == "text-gpt" else 25)  # nanoGPT's numbers are seldom our defaults
    assert [line for line in lines if read(text.replace(line, "\n", 1)) == recipe] == []


def read(text):
    try:
        return from_toml(text)
    except InputError:
        return None


@each_recipe
def test_all_defaults_can_be_set(recipe):
    assert from_toml(BEHIND_A_HASH.sub("", to_commented_toml(recipe))).to_dict() == recipe.to_dict()


def test_each_default_can_be_set_alone():
    """A line without its # sets the field of its own section."""
    text = to_commented_toml(digits())
    places = [found.start() for found in BEHIND_A_HASH.finditer(text)]
    assert len(places) > 40
    for place in places:
        assert from_toml(text[:place] + text[place + 1 :]).to_dict() == digits().to_dict()


@each_recipe
def test_every_field_is_printed_in_its_section(recipe):
    printed = set()
    section = ""
    for line in to_commented_toml(recipe).splitlines():
        if header := re.fullmatch(r"\[([a-z]+)\]", line):
            section = header[1]
        elif setting := re.match(r"#?([a-z_]+)[\w.]* = ", line):
            printed.add((section, setting[1]))
    assert printed == {
        (part, item.name) for part, kind in PARTS.items() for item in fields(kind) if item.name not in PARTS
    }


PLAIN = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(), PLAIN, max_size=6), st.text())
def test_any_arguments_and_paths_are_printed_visibly_and_read_back(arguments, path):
    recipe = replace(digits(), model=Model("my.module:net", arguments=arguments), data=Data("digits", path=path))
    text = to_commented_toml(recipe)
    assert from_toml(text) == recipe
    assert text.replace("\n", "").isprintable()


@pytest.mark.parametrize("values", [[0.5] * 2000, [[0.5] * 20] * 100, {f"name {i}": 0.5 for i in range(2000)}])
def test_long_arguments_have_lines_that_can_be_read(values):
    recipe = replace(digits(), model=Model("my.module:net", arguments={"values": values}))
    assert from_toml(to_commented_toml(recipe)) == recipe


def test_a_decay_that_nobody_set_has_no_value():
    decay = "#weight_decay = "
    text = to_commented_toml(replace(digits(), optimizer=Optimizer("my.module:optimizer")))
    assert f"{decay}{NOT_SET}\n" in text
    assert f"{decay}0.0001\n" in to_commented_toml(replace(digits(), optimizer=Optimizer()))


@each_part
def test_every_field_of_every_section_says_what_it_means(part):
    kind = PARTS[part]
    meanings = descriptions_of(kind)
    assert set(meanings) == {item.name for item in fields(kind)}
    assert all(meaning.endswith(".") for meaning in meanings.values())
    assert summary_of(kind).endswith(".")


@pytest.mark.parametrize("field", CHOICES)
def test_every_word_that_may_be_chosen_is_named(field):
    section, _, name = field.rpartition(".")
    meaning = descriptions_of(PARTS[section])[name]
    assert [word for word in CHOICES[field] if f'"{word}"' not in meaning] == []


def test_the_reference_in_the_documents_is_that_of_the_code():
    """If it is not: `make reference`."""
    script = runpy.run_path(str(DOCS / "recipe_reference.py"))
    page = (DOCS / "recipe.md").read_text()
    assert script["updated"](page) == page
    assert page.count("\n- `") > 70


def test_the_command_prints_presets_and_changes(run):
    done = run("recipe", "digits", "--minibatch-size", 256, "--seed", 3, "--set", "warmup.epochs=2")
    assert (done.returncode, done.stderr) == (0, "")
    expected = with_settings(digits(), ["minibatch_size=256", "seed=3", "warmup.epochs=2"])
    assert from_toml(done.stdout) == expected
    assert done.stdout.startswith("# Handwritten digits")
    assert "\n# Changed: minibatch_size: 16 -> 256; seed: 0 -> 3; warmup.epochs: 3.0 -> 2.0.\n" in done.stdout


def test_the_command_prints_the_whole_of_a_file_and_nothing_that_a_terminal_obeys(run, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(to_toml(digits()).replace('path = ""', r'path = "\u202e\u009b"'))
    done = run("recipe", path)
    assert from_toml(done.stdout).data.path == "\u202e\u009b"
    assert done.stdout.replace("\n", "").isprintable()
    path.write_text(done.stdout)
    assert run("recipe", path).stdout == done.stdout


def test_the_command_lists_the_presets(run):
    lines = run("recipe").stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(PRESETS)]] == list(PRESETS)
    assert all(line.endswith(".") for line in lines[: len(PRESETS)])
    assert "bigbatch train my.toml" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digit",), "'digit' is neither a preset nor a TOML file; did you mean 'digits'?"),
        (("none.toml",), "cannot read the recipe none.toml: No such file or directory"),
        (("digits", "--set", "warmup.epoch=2"), "unknown key 'warmup.epoch'; did you mean 'epochs'?"),
        (("--set", "epochs=2"), "RECIPE is missing: which one shall be changed? a preset (digits, "),
        (("--seed", 0), "RECIPE is missing"),
        (("digits", "--json"), "unknown argument '--json'"),
        (("",), "'' is neither a preset nor a TOML file"),
    ],
)
def test_the_command_refuses(run, arguments, message):
    done = run("recipe", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
