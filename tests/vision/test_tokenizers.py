"""Texts by the tokenizers of Hugging Face: their own tokens, of the smallest type, and refusals in a line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tokenizers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bigbatch.data import text_files
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.errors import InputError
from bigbatch.recipe import Data

VERSE = "The rain in Spain\nstays mainly in the plain.\n\n" * 40


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a text, a trained tokenizer.json, and one of transformers in `own/`."""
    (tmp_path / "verse.txt").write_text(VERSE)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([VERSE], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16).save_pretrained(tmp_path / "own")
    return tmp_path


def text_of(folder, tokenizer, length=8):
    return Data("text", path=str(folder / "verse.txt"), tokenizer=str(folder / tokenizer), sequence_length=length)


@pytest.mark.parametrize("name", ["tokenizer.json", "own"])
def test_the_tokens_are_the_tokenizers_own_of_the_whole_text_without_special_ones(folder, name):
    """Truncation, padding and special tokens, which a tokenizer may ask for, would tear a text apart."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    expected = tokenizer.encode(VERSE, add_special_tokens=False).ids
    splits = load_data(text_of(folder, name))
    found = splits.train.part.tokens
    assert found.tolist() == expected
    assert found.dtype == (np.uint8 if splits.num_classes <= 256 else np.uint16)
    assert splits.num_classes == tokenizer.get_vocab_size() + (name == "own")  # transformers adds one for padding
    assert count_train_samples(text_of(folder, name)) == len(splits.train)
    assert "own" in splits.about or "tokenizer.json" in splits.about


@pytest.mark.parametrize("name", ["tokenizer.json", "own"])
def test_pieces_of_whole_lines_are_encoded_one_by_one(folder, name, monkeypatch):
    whole = load_data(text_of(folder, name)).train.part.tokens
    monkeypatch.setattr(text_files, "PIECE_BYTES", 100)
    (folder / "verse.txt").write_text("one line\n" * 200)
    pieces = load_data(text_of(folder, name)).train.part.tokens
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.decode(pieces.tolist(), skip_special_tokens=False).count("line") == 200
    assert len(whole) != len(pieces)


def test_another_tokenizer_is_another_fingerprint(folder):
    first = load_data(text_of(folder, "tokenizer.json")).fingerprint
    table = json.loads((folder / "tokenizer.json").read_text())
    table["model"]["merges"] = table["model"]["merges"][:-1]
    (folder / "tokenizer.json").write_text(json.dumps(table))
    assert load_data(text_of(folder, "tokenizer.json")).fingerprint != first


@pytest.mark.parametrize("name", ["broken.json", "empty.json", "nothing-here", "untrained.json"])
def test_what_is_no_tokenizer_is_refused_in_a_line(folder, name):
    (folder / "broken.json").write_text("{")
    (folder / "empty.json").write_text("")
    (folder / "nothing-here").mkdir()
    tokenizers.Tokenizer(models.BPE()).save(str(folder / "untrained.json"))
    with pytest.raises(InputError, match=rf"^[^\n]*{name}[^\n]*$"):
        load_data(text_of(folder, name))


def test_a_tokenizer_of_a_folder_asks_no_network(folder):
    """A name that is no folder is never looked up elsewhere."""
    with pytest.raises(InputError, match="neither a file nor a folder"):
        load_data(Data("text", path=str(folder / "verse.txt"), tokenizer="gpt2"))


def test_counting_with_a_tokenizer_needs_no_torch(folder):
    code = (
        "import sys; from bigbatch.data.load import count_train_samples; from bigbatch.recipe import Data; "
        f"print(count_train_samples(Data('text', path={str(folder / 'verse.txt')!r}, sequence_length=8, "
        f"tokenizer={str(folder / 'tokenizer.json')!r})), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(load_data(text_of(folder, "tokenizer.json")).train)), "False"]
