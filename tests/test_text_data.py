"""Texts as data: how they are cut into sequences, which tokens they have, and what is refused in a line."""

import pickle
import subprocess
import sys
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.data.dataset import read
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.data.presence import check_presence
from bigbatch.data.text_files import PIECE_BYTES, MappedBytes, TextFiles
from bigbatch.data.tokenizers import find_tokenizer
from bigbatch.errors import InputError
from bigbatch.recipe import Data

VERSE = "Schön ist's, die Wörter zu zählen.\r\nEins, zwei, 三.\n\n" * 20


def text_of(path, length=8, **fields):
    return Data("text", path=str(path), sequence_length=length, **fields)


@pytest.fixture
def verse(tmp_path):
    path = tmp_path / "verse.txt"
    path.write_bytes(VERSE.encode())
    return path


def tokens_of(dataset):
    """Return all inputs, and all targets, one after the other."""
    inputs, targets = read(dataset, np.arange(len(dataset)), key=0)
    assert inputs.shape == targets.shape == (len(dataset), dataset.length)
    assert inputs.is_contiguous()
    assert targets.is_contiguous()
    return inputs.flatten().numpy(), targets.flatten().numpy()


@given(content=st.binary(min_size=40, max_size=200), length=st.integers(1, 15), share=st.floats(0.4, 0.6))
def test_every_byte_but_the_first_is_a_target_once_and_what_does_not_fill_a_sequence_is_left(
    tmp_path_factory, content, length, share
):
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(content)
    splits = load_data(text_of(path, length, validation_share=share))
    split = int(len(content) * (1 - share))
    for dataset, part in ((splits.train, content[:split]), (splits.validation, content[split:])):
        inputs, targets = tokens_of(dataset)
        assert 0 <= len(part) - 1 - len(inputs) < length
        assert bytes(inputs.astype(np.uint8)) == part[: len(inputs)]
        assert bytes(targets.astype(np.uint8)) == part[1 : len(inputs) + 1]
    assert count_train_samples(text_of(path, length, validation_share=share)) == len(splits.train)


@given(parts=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=6), data=st.data())
def test_mapped_files_are_one_text_also_in_another_process(tmp_path_factory, parts, data):
    folder = tmp_path_factory.mktemp("texts")
    for number, part in enumerate(parts):
        (folder / f"{number}.txt").write_bytes(part)
    whole = b"".join(parts)
    mapped = MappedBytes(TextFiles.of(sorted(folder.iterdir())))
    places = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1)))[:, None]
    for found in (mapped, pickle.loads(pickle.dumps(mapped))):  # noqa: S301 - our own
        assert len(found) == len(whole)
        assert found[places].tolist() == [[whole[place]] for place in places[:, 0]]


def test_what_is_pickled_for_a_reader_holds_no_text(tmp_path):
    path = tmp_path / "large.txt"
    path.write_bytes(b"x" * 10**6)
    dataset = load_data(text_of(path)).train
    tokens_of(dataset)  # so that it is mapped
    assert len(pickle.dumps(dataset)) < 10_000


def test_a_folder_is_its_files_in_order_or_its_two_halves(tmp_path):
    for name, content in {"b.txt": "b" * 30, "a.TXT": "a" * 30, ".c.txt": "c" * 30, "notes.md": "d" * 30}.items():
        (tmp_path / name).write_text(content)
    inputs, _ = tokens_of(load_data(text_of(tmp_path, 4, validation_share=0.2)).train)
    assert bytes(inputs.astype(np.uint8)) == b"a" * 30 + b"b" * 14
    (tmp_path / "train.txt").write_text("t" * 41)
    (tmp_path / "val.txt").write_text("v" * 21)
    splits = load_data(text_of(tmp_path, 4))
    assert [bytes(tokens_of(half)[0].astype(np.uint8)) for half in (splits.train, splits.validation)] == [
        b"t" * 40,
        b"v" * 20,
    ]


def test_characters_are_numbered_by_their_code_and_said(verse):
    splits = load_data(text_of(verse, tokenizer="characters", validation_share=0.5))
    alphabet = sorted(set(VERSE))
    assert splits.num_classes == len(alphabet)
    assert splits.about == f"the tokens are {len(alphabet)} characters: {''.join(alphabet)!r}"
    inputs, targets = tokens_of(splits.train)
    assert "".join(alphabet[token] for token in inputs) == VERSE[: len(inputs)]
    assert "".join(alphabet[token] for token in targets) == VERSE[1 : len(targets) + 1]


@pytest.mark.parametrize(("num_characters", "kind"), [(256, np.uint8), (257, np.uint16), (70_000, np.uint32)])
def test_tokens_are_of_the_smallest_type_that_holds_them(tmp_path, num_characters, kind):
    path = tmp_path / "a.txt"
    path.write_bytes("".join(map(chr, range(0xE000, 0xE000 + num_characters))).encode())
    text = TextFiles.of([path])
    tokens = find_tokenizer("characters", text).encode(text)
    assert tokens.dtype == kind
    assert np.array_equal(tokens, np.arange(num_characters))


def test_pieces_end_with_lines_and_lose_nothing(tmp_path):
    line = "ä" * 700 + "\n"
    path = tmp_path / "a.txt"
    path.write_bytes((line * 2000 + "z").encode())
    pieces = list(TextFiles.of([path, path]).pieces())
    assert "".join(pieces) == (line * 2000 + "z") * 2
    assert len(pieces) > 4
    assert all(piece.endswith(("\n", "z")) and len(piece.encode()) < PIECE_BYTES + 1500 for piece in pieces)


@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_sequences_are_counted_without_torch(verse, tokenizer):
    splits = load_data(text_of(verse, 7, tokenizer=tokenizer))
    code = (
        "import sys; from bigbatch.data.load import count_train_samples; from bigbatch.recipe import Data; "
        f"print(count_train_samples(Data('text', path={str(verse)!r}, sequence_length=7, tokenizer={tokenizer!r})), "
        "'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(splits.train)), "False"]


def test_the_fingerprint_is_of_the_content_and_the_tokenizer(tmp_path):
    def fingerprint(*contents, **fields):
        folder = tmp_path / sha256(repr(contents).encode()).hexdigest()
        folder.mkdir(exist_ok=True)
        for number, content in enumerate(contents):
            (folder / f"{number}.txt").write_text(content)
        return load_data(text_of(folder, 4, validation_share=0.4, **fields)).fingerprint

    one = fingerprint("abcd" * 9)
    others = [
        fingerprint("abcd" * 8 + "abce"),
        fingerprint("abcd" * 9, tokenizer="characters"),
        fingerprint("bbcd" * 9, tokenizer="characters"),
    ]
    assert len({one, *others}) == 4
    assert fingerprint("abcd" * 9) == fingerprint("abcd" * 4, "abcd" * 5) == one  # however it lies in files


BAD = {
    "no text here": (None, {}, ["there is no text", "data.path"]),
    "an empty file": (b"", {}, ["empty"]),
    "shorter than a sequence": (b"a" * 8, {}, ["training part has 7 bytes", "takes 8", "data.sequence_length"]),
    "a short validation": (b"a" * 50, {}, ["validation part has 5 bytes", "data.validation_share"]),
    "not UTF-8": (b"good\nb\xffd\n" * 50, {"tokenizer": "characters"}, ["line 2", "0xff", '"bytes"']),
    "an unknown tokenizer": (b"a" * 99, {"tokenizer": "character"}, ["did you mean 'characters'?"]),
    "a tokenizer that is none": (b"a" * 99, {"tokenizer": __file__}, ["tokenizer"]),
    "an augmentation": (b"a" * 99, {"augmentation": ("flip",)}, ["'flip'", "images"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_text_is_refused_in_a_line(tmp_path, name):
    content, fields, words = BAD[name]
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        load_data(text_of(path, **fields))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no .txt file"),
        ({"notes.md": b"a" * 99}, "holds no .txt file"),
        ({"train.txt": b"a" * 99}, "has no val.txt"),
        ({"val.txt": b"a" * 99, "b.txt": b"b" * 99}, "has no train.txt"),
        ({"a.txt": b"a" * 99, "b.txt": b""}, "b.txt is empty"),
        ({"train.txt": b"a" * 99, "val.txt": b"abba" * 20}, "val.txt has the character 'b' (U+0062)"),
        ({"train.txt": b"a" * 99, "val.txt": b"aa"}, "val.txt: the validation part has 2 characters"),
        ({"train.txt": b"aa", "val.txt": b"a" * 99}, "train.txt: the training part has 2 characters"),
    ],
)
def test_a_bad_folder_is_refused_in_a_line(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"^[^\n]+$") as error:
        load_data(text_of(tmp_path, tokenizer="characters"))
    assert words in str(error.value)


def test_a_folder_that_looks_like_a_text_and_a_path_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "a.txt").mkdir()
    for path in (tmp_path, "x" * 5000, tmp_path / "a.txt" / "b.txt"):
        with pytest.raises(InputError, match=r"^[^\n]+$"):
            load_data(text_of(path))
    with pytest.raises(InputError, match="--set data"):
        load_data(text_of(""))
    with pytest.raises(InputError, match="there is no text"):
        check_presence(text_of(tmp_path / "nothing.txt"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sequence_length", 0),
        ("sequence_length", -1),
        ("sequence_length", 2**40),
        ("validation_share", 0.0),
        ("validation_share", 1.0),
        ("validation_share", float("nan")),
    ],
)
def test_fields_out_of_their_range_are_refused(field, value):
    with pytest.raises(InputError, match=f"data.{field}"):
        Data("text", **{field: value})
