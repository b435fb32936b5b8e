"""Causal language models of transformers by the command: the bits for any number of processes, and the perplexity."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.models.weights_file import read_weights
from bigbatch.recipe.file import read_recipe
from bigbatch.runs.folder import RunFolder
from bigbatch.training.parts import build_recipe_model
from bigbatch.training.run_evaluation import export_run
from bigbatch.training.vocabulary import check_vocabulary

TEXT = "".join(f"{number} is {'even' if number % 2 == 0 else 'odd'}, I said.\n" for number in range(120))
RECIPE = """
name = "{name}"
minibatch_size = 12
worker_minibatch_size = 4
samples = 36
loss = "token-cross-entropy"
metrics = ["perplexity"]
[reference]
minibatch_size = 12
learning_rate = 0.01
[model]
name = "transformers/{kind}"
arguments = {{ {arguments} }}
[data]
name = "text"
path = "{path}"
tokenizer = "characters"
sequence_length = 16
[warmup]
kind = "none"
[optimizer]
name = "adamw"
"""
OF_LLAMA = "hidden_size = 16, num_hidden_layers = 2, num_attention_heads = 2, intermediate_size = 32"
# Learned positions, tied weights, dropout and fused attention; rotary positions with buffers, tied or not, and eager.
KINDS = {
    "gpt2": ("gpt2", "n_layer = 2, n_head = 2, n_embd = 16"),
    "llama": (
        "llama",
        f'{OF_LLAMA}, num_key_value_heads = 1, tie_word_embeddings = true, attn_implementation = "eager"',
    ),
    "gpt-neox": ("gpt_neox", f"{OF_LLAMA}, hidden_dropout = 0.1"),
}


@pytest.fixture
def recipes(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    for name, (kind, arguments) in KINDS.items():
        text = RECIPE.format(name=name, kind=kind, arguments=arguments, path=tmp_path / "text.txt")
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def test_every_kind_has_one_hash_for_one_two_and_three_processes_and_plain_torchs_perplexity(recipes, group):
    files = sorted(recipes.glob("*.toml"))
    for processes in (1, 2, 3):
        group("detection_law.py", processes, *files)
    for file in files:
        folders = [recipes / f"{file.stem}-p{processes}" for processes in (1, 2, 3)]
        runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
        assert len({run["weights_sha256"] for run in runs}) == 1, file.stem
        assert len({run["final_result"] for run in runs}) == 1, file.stem
        assert runs[0]["final_result"] < 30
        expected = plain_perplexity(file, folders[0])
        assert math.isclose(runs[0]["final_result"], expected, rel_tol=1e-5), file.stem


def plain_perplexity(file, folder):
    """Return the perplexity of the exported weights in a model that transformers built, sequence by sequence."""
    recipe = read_recipe(file)
    export_run(RunFolder(folder), folder / "weights.safetensors")
    alphabet = sorted(set(TEXT))
    model = model_of(recipe, len(alphabet)).eval()
    model.load_state_dict(read_weights(folder / "weights.safetensors").tensors)
    ids = torch.tensor([alphabet.index(character) for character in TEXT[int(len(TEXT) * 0.9) :]])
    losses = []
    for start in range(0, len(ids) - 16, 16):
        with torch.no_grad():
            logits = model(input_ids=ids[None, start : start + 16]).logits[0]
        losses += functional.cross_entropy(logits, ids[start + 1 : start + 17], reduction="none").tolist()
    return math.exp(sum(losses) / len(losses))


def model_of(recipe, num_tokens):
    return build_recipe_model(recipe, num_classes=num_tokens, in_channels=0)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt-neox"])
def test_tokens_and_positions_are_those_of_the_data_where_the_recipe_leaves_them_open(recipes, kind):
    recipe = read_recipe(recipes / f"{kind}.toml")
    config = model_of(recipe, 30).config
    assert (config.vocab_size, config.max_position_embeddings) == (30, 16)
    assert model_of(recipe, 30).get_input_embeddings().padding_idx is None


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        ("gpt2", {"vocab_size": 10}, "vocab_size is 10"),
        ("llama", {"vocab_size": 10}, "vocab_size is 10"),
        ("gpt2", {"n_positions": 8}, "8 positions"),
        ("llama", {"max_position_embeddings": 8}, "8 positions"),
        ("gpt-neox", {"max_position_embeddings": 15}, "15 positions"),
    ],
)
def test_a_model_with_fewer_tokens_or_positions_than_its_text_is_refused(recipes, kind, arguments, words):
    recipe = read_recipe(recipes / f"{kind}.toml")
    recipe = replace(recipe, model=replace(recipe.model, arguments={**recipe.model.arguments, **arguments}))
    data = load_data(recipe.data)
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        check_vocabulary(model_of(recipe, data.num_classes), data, recipe)
    assert words in str(error.value)
    assert str(data.num_classes if "vocab" in words else 16) in str(error.value)


def test_a_model_that_looks_ahead_is_refused_and_its_decoder_is_not(recipes):
    """BERT's class for language models looks ahead unless it is told that it is a decoder."""
    recipe = read_recipe(recipes / "llama.toml")
    for arguments in ({}, {"is_decoder": True}):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        changed = replace(recipe, model=replace(recipe.model, name="transformers/bert", arguments=sizes | arguments))
        data = load_data(changed.data)
        with nullcontext() if arguments else pytest.raises(InputError, match="is_decoder = true"):
            check_vocabulary(model_of(changed, data.num_classes), data, changed)


def test_the_preset_trains_on_a_text_of_its_characters(tmp_path, bigbatch):
    (tmp_path / "text.txt").write_text(TEXT * 3)
    small = ("data.path=text.txt", "iterations=4", "reference.warmup_iterations=1", "model.arguments.n_embd=16")
    options = [option for setting in small for option in ("--set", setting)]
    done = bigbatch("train", "text-gpt", *options, "--output", "run")
    assert done.returncode == 0, done.stderr
    assert "validation perplexity" in done.stdout
