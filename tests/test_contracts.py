"""Your own code in a recipe: docs/recipe.md has a contract and an example for each name, and a test trains with all."""

import re
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from pathlib import Path

import pytest
import torch

from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.descriptions import descriptions_of
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train
from bigbatch.user_code import load_callable
from prose import code_blocks

PAGE = (Path(__file__).parents[1] / "docs" / "recipe.md").read_text()
OWN_CODE = PAGE.partition("\n## Your own code\n")[2]
INTRODUCTION, *PARTS = re.split(r"^### `(.*)`$", OWN_CODE, flags=re.MULTILINE)
CONTRACTS = dict(zip(PARTS[::2], PARTS[1::2], strict=True))
DEFINED = re.compile(r"(?:def|class) (\w+)")
LONGEST = 9  # lines of an example
MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SMALL = ["minibatch_size=64", "epochs=2", "warmup.epochs=0.5", "data.augmentation=[]", "model.width=0"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Write the examples into a module, and return a name in it for each field."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (imports,) = code_blocks(INTRODUCTION, "python")
    examples = {field: code_blocks(text, "python")[0] for field, text in CONTRACTS.items()}
    (tmp_path / "my_project.py").write_text("\n".join([imports, *examples.values()]))
    return {field: f"my_project:{DEFINED.match(code)[1]}" for field, code in examples.items()}


def count_calls(names, monkeypatch):
    """Count from now on how often each callable is called."""
    calls = Counter()
    for name in names:
        function = load_callable(name)
        monkeypatch.setattr(f"my_project.{function.__name__}", counted(function, name, calls))
    return calls


def counted(function, name, calls):
    @wraps(function)
    def call(*positional, **named):
        calls[name] += 1
        return function(*positional, **named)

    return call


def test_every_field_that_takes_your_own_code_has_a_contract():
    recipe = digits()
    parts = {"": Recipe, **{item.name: type(getattr(recipe, item.name)) for item in fields(recipe)}}
    found = {
        f"{part}.{name}".lstrip(".")
        for part, kind in parts.items()
        if is_dataclass(kind)
        for name, meaning in descriptions_of(kind).items()
        if "package.module:callable" in meaning
    }
    assert found == CONTRACTS.keys()


@pytest.mark.parametrize("field", CONTRACTS)
def test_an_example_is_short(field):
    (example,) = code_blocks(CONTRACTS[field], "python")
    assert len(example.splitlines()) <= LONGEST


@pytest.mark.parametrize("other", ["loss", "objective"])  # a recipe has one of them
def test_a_training_calls_all_examples(project, other, tmp_path, monkeypatch):
    names = {field: name for field, name in project.items() if field not in {"loss", "objective"} - {other}}
    settings = [f"{field}={name}" for field, name in names.items() if field != "metrics"]
    recipe = replace(digits(), schedule=type(digits().schedule)())  # the preset's milestones are of its own schedule
    recipe = with_settings(recipe, [*SMALL, *settings, f"metrics=['{names['metrics']}', 'mean-loss']"])
    assert sorted(recipe.user_code) == sorted(names.values())
    calls = count_calls(names.values(), monkeypatch)
    summary = train(recipe, RunFolder(tmp_path / "run"), MACHINE)
    assert calls.keys() == set(names.values())
    assert summary.iterations == 2 * 256 // 64
    assert summary.metric.name == "recall-of-class-0"
    assert 0 < summary.final_result <= 100
