"""Language models on a text, by the command: the bits, the perplexity, the length, and models that do not fit."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from bigbatch.data.dataset import read
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.models.weights_file import read_weights
from bigbatch.recipe import Model, Recipe, Reference
from bigbatch.recipe.sections import Data, Optimizer, Scaling
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.vocabulary import check_vocabulary
from user_gpt import GPT

HERE = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])}
TEXT = "".join(f"{number} is {'even' if number % 2 == 0 else 'odd'}, I said.\n" for number in range(120))
RECIPE = """
name = "small"
minibatch_size = 12
worker_minibatch_size = 4
epochs = 1
loss = "token-cross-entropy"
metrics = ["perplexity"]
[reference]
minibatch_size = 12
learning_rate = 0.01
[model]
name = "user_gpt:GPT"
[data]
name = "text"
path = "text.txt"
sequence_length = 16
[optimizer]
name = "adamw"
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path


def settings(*fields):
    return [option for field in fields for option in ("--set", field)]


def summary_of(folder):
    return json.loads((folder / "run.json").read_text())


def test_one_hash_for_one_two_and_three_processes_and_plain_torchs_perplexity(bigbatch, project):
    """With dropout, and a head that shares the embedding's weights."""
    fields = settings("model.arguments.tied=true", "data.tokenizer=characters", "model.arguments.num_tokens=30")
    (project / "text.txt").write_text(TEXT + "äöüßéèê")  # 30 characters, of which training does not see all
    for processes in (1, 2, 3):
        output = project / f"p{processes}"
        done = bigbatch("train", "recipe.toml", *fields, "--processes", processes, "--output", output, **HERE)
        assert done.returncode == 0, done.stderr
        assert "the tokens are 30 characters: '\\n " in done.stdout
    runs = [summary_of(project / f"p{processes}") for processes in (1, 2, 3)]
    assert len({run["weights_sha256"] for run in runs}) == 1
    assert len({run["final_result"] for run in runs}) == 1
    assert bigbatch("export", "p1", "weights.safetensors", **HERE).returncode == 0
    assert math.isclose(runs[0]["final_result"], plain_perplexity(project, GPT(num_tokens=30, tied=True)), rel_tol=1e-5)


def plain_perplexity(project, model):
    """Return the perplexity of the exported weights as plain torch computes it, sequence by sequence."""
    model.load_state_dict(read_weights(project / "weights.safetensors").tensors)
    model.eval()
    text = (project / "text.txt").read_text()
    alphabet = sorted(set(text))
    ids = torch.tensor([alphabet.index(character) for character in text[int(len(text) * 0.9) :]])
    losses = []
    for start in range(0, len(ids) - 16, 16):
        with torch.no_grad():
            logits = model(ids[None, start : start + 16])[0]
        losses += functional.cross_entropy(logits, ids[start + 1 : start + 17], reduction="none").tolist()
    return math.exp(sum(losses) / len(losses))


def recipe_with(**arguments):
    data = Data("text", path="text.txt", sequence_length=16)
    return Recipe(
        name="small",
        reference=Reference(minibatch_size=4, learning_rate=0.01),
        model=Model(arguments.pop("name", "user_gpt:GPT"), arguments=arguments),
        data=data,
        minibatch_size=4,
        worker_minibatch_size=4,
        epochs=1,
        loss="token-cross-entropy",
        metrics=("perplexity",),
        optimizer=Optimizer("adamw"),
        scaling=Scaling("square-root"),
    )


MISFITS = {
    "few tokens": ({"num_tokens": 100}, ["256 tokens", "'wte' has 100"]),
    "few outputs": ({"num_outputs": 100}, ["256 tokens", "outputs have 100"]),
    "few positions": ({"length": 15}, ["'wpe' has 15", "16 tokens"]),
    "few positions in a parameter": ({"length": 15, "positions": "own"}, ["16 tokens", "15"]),
    "a model that looks ahead": ({"causal": False}, ["tokens that follow", "causal"]),
    "few tokens in a table": ({"name": "user_gpt:Bag", "num_tokens": 255}, ["0 to 255", "out of range"]),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_model_that_does_not_fit_its_text_is_refused_before_training(project, monkeypatch, name):
    """The text itself has small bytes only, so that a training would not notice."""
    arguments, words = MISFITS[name]
    monkeypatch.chdir(project)
    recipe = recipe_with(**arguments)
    data = load_data(recipe.data)
    assert max(data.train.part.tokens[np.arange(100)]) < 100 + 28
    model = build_recipe_model(recipe, num_classes=data.num_classes, in_channels=0)
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        check_vocabulary(model, data, recipe)
    for word in words:
        assert word in str(error.value)


def test_a_model_that_fits_is_left_as_it_was(project, monkeypatch):
    monkeypatch.chdir(project)
    recipe = recipe_with()
    data = load_data(recipe.data)
    model = build_recipe_model(recipe, num_classes=256, in_channels=0)
    model.layer.norm1.eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    check_vocabulary(model, data, recipe)
    assert torch.equal(state, torch.get_rng_state())
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not model.wte._forward_pre_hooks


def test_a_model_may_look_at_both_sides_of_tokens_that_a_collate_hides(project, monkeypatch):
    monkeypatch.chdir(project)
    recipe = recipe_with(causal=False)
    model = build_recipe_model(recipe, num_classes=256, in_channels=0)
    hiding = replace(recipe, data=replace(recipe.data, collate="user_gpt:with_a_hidden_token"))
    check_vocabulary(model, load_data(hiding.data), hiding)


@pytest.mark.usefixtures("project")
def test_the_command_refuses_a_model_that_does_not_fit_in_a_line(bigbatch):
    done = bigbatch("train", "recipe.toml", *settings("model.arguments.num_tokens=99"), "--output", "run", **HERE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_collate_of_ones_own_gets_sequences(project, monkeypatch):
    monkeypatch.chdir(project)
    data = load_data(Data("text", path="text.txt", sequence_length=5, collate="user_gpt:as_table"))
    batch = read(data.train, np.arange(3), key=0)
    assert {name: tuple(part.shape) for name, part in batch.items()} == {"tokens": (3, 5), "following": (3, 5)}
    assert read(data.extreme, np.arange(1), key=0)["tokens"].max() == 255


def test_the_length_may_be_in_samples_and_a_plan_counts_the_sequences(bigbatch, project):
    (project / "recipe.toml").write_text(RECIPE.replace("epochs = 1", "samples = 96"))
    done = bigbatch("plan", "recipe.toml", "--json", *settings("data.tokenizer=characters"), **HERE)
    plan = json.loads(done.stdout)
    assert plan["num_train_samples"] == (int(len(TEXT) * 0.9) - 1) // 16
    assert plan["total_iterations"] == 8


def test_the_preset_is_nanogpts_and_is_explained_without_its_data(bigbatch):
    done = bigbatch("plan", "text-gpt", "--minibatch-size", 48, "--json")
    plan = json.loads(done.stdout)
    assert (plan["num_train_samples"], plan["total_iterations"], plan["own_warmup_iterations"]) == (15_685, 500, 25)
    assert (plan["base_learning_rate"], plan["betas"]) == (0.002, [0.6, 0.96])
    assert plan["sequence"] == "64 tokens (characters)"
    assert "64 tokens (characters)" in bigbatch("plan", "text-gpt").stdout
    refused = bigbatch("plan", "text-gpt", *settings("data.sequence_length=128"))  # another number of samples
    assert refused.returncode == 2
    assert "--set data.path=FILE" in refused.stderr
