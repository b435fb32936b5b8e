"""Parquet files as Hugging Face's datasets write them: the samples and the order of the folder that they hold."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bigbatch.cli import main
from bigbatch.data.batch import to_device
from bigbatch.data.image_files import kept_listing
from bigbatch.data.image_files.parquet import _GROUPS
from bigbatch.data.load import load_data
from bigbatch.data.loading import load_batches
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.rules.sampling import BatchIndices
from photographs import write_photographs

CLASSES = ["ant", "bee"]


@pytest.fixture
def folder(tmp_path):
    return write_photographs(tmp_path / "folder")


def rows_of(folder, split):
    paths = sorted((folder / split).rglob("*.jpg"))
    order = np.random.default_rng(0).permutation(len(paths))
    return [
        {"image": {"bytes": paths[i].read_bytes(), "path": paths[i].name}, "label": CLASSES.index(paths[i].parent.name)}
        for i in order
    ]


def write(rows, path, *, names=CLASSES, group=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)


def write_splits(folder, root, *, pattern="data/{split}-{number:05d}-of-00002.parquet", names=CLASSES):
    for split, name in (("train", "train"), ("val", "validation")):
        rows = rows_of(folder, split)
        for number in range(2):
            write(rows[number::2], root / pattern.format(split=name, number=number), names=names)
    return root


def load(path):
    return load_data(Data("image-folder", str(path), image_size=8, augmentation=("random-resized-crop", "flip")))


def batches(data):
    return [split.read_batch(np.arange(len(split)), 3) for split in (data.train, data.validation)]


def same(first, second):
    pairs = zip(batches(first), batches(second), strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize("pattern", ["data/{split}-{number:05d}-of-00002.parquet", "{split}/{number}.parquet"])
def test_parquet_files_are_the_folder_in_another_form(folder, tmp_path, pattern):
    found = load(write_splits(folder, tmp_path / "parquet", pattern=pattern))
    assert same(load(folder), found)
    assert found.train.listing.classes == ("ant", "bee")
    assert "parquet: bee/7.jpg" in found.train.listing.place(15)
    unnamed = load(write_splits(folder, tmp_path / "unnamed", names=None))
    assert same(load(folder), unnamed)
    assert unnamed.train.listing.classes == ("0", "1")


@pytest.mark.parametrize("readers", [0, 2])
def test_readers_open_the_files_anew(folder, tmp_path, readers):
    images = load(write_splits(folder, tmp_path / "parquet")).train
    assert len(images.listing.read(0)) > 0
    places = [BatchIndices(0, np.arange(start, start + 4)) for start in (0, 4, 8, 12)]
    found = load_batches(images, places, seed=5, device=torch.device("cpu"), loader_workers=readers)
    for place, (pixels, _) in zip(places, found, strict=True):
        assert torch.equal(pixels, to_device(images.read_batch(place.indices, place.augmentation_key(5))[0], "cpu"))


def test_they_are_packed(folder, tmp_path):
    parquet = write_splits(folder, tmp_path / "parquet")
    assert main(["pack", str(parquet), str(tmp_path / "packed"), "--files"]) == 0
    assert same(load(folder), load(tmp_path / "packed"))


def test_a_listing_is_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_listing, "KEPT_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    parquet = write_splits(folder, tmp_path / "parquet")
    for path in parquet.rglob("*.parquet"):
        os.utime(path, (1e9, 1e9))
    assert load(parquet).train.listing.file is not None
    assert same(load(folder), load(parquet))


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "cannot read the Parquet file"),
        (lambda path: path.write_bytes(b""), "cannot read the Parquet file"),
        (lambda path: write([{"text": "a", "label": 0}], path), "has the columns text, label, and none named image"),
        (lambda path: write([{"image": {"bytes": b"x", "path": "a"}}], path), "none named label or labels"),
        (lambda path: write([{"image": b"x", "label": 0}], path), "not of bytes and path"),
        (lambda path: write([{"image": {"bytes": b"x", "path": "a"}, "label": -1}], path), "has the label -1"),
        (lambda path: write([{"image": {"bytes": b"x", "path": None}, "label": None}], path), "has the label None"),
        (lambda path: write([{"image": {"bytes": b"x", "path": None}, "label": 0}], path), "cannot decode the image"),
    ],
)
def test_files_that_cannot_be_used_are_named(folder, tmp_path, change, message):
    parquet = write_splits(folder, tmp_path / "parquet")
    path = parquet / "data" / "train-00001-of-00002.parquet"
    change(path)
    with pytest.raises(InputError, match=message) as error:
        batches(load(parquet))
    assert path.name in str(error.value)


def test_a_file_that_changes_while_training_is_named(folder, tmp_path):
    images = load(write_splits(folder, tmp_path / "parquet")).train
    _GROUPS.process = 0  # nothing has been read by this process yet
    cut(tmp_path / "parquet" / "data" / "train-00000-of-00002.parquet")
    with pytest.raises(InputError, match=r"train-00000-of-00002\.parquet has .* when listed: put it back"):
        images.read_batch(np.arange(16), 0)


def test_names_and_labels_must_fit(folder, tmp_path):
    with pytest.raises(InputError, match="images of 2 classes, and names of 3"):
        load(write_splits(folder, tmp_path / "parquet", names=[*CLASSES, "cow"]))


def test_without_pyarrow_it_is_said(folder, tmp_path, monkeypatch):
    parquet = write_splits(folder, tmp_path / "parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"needs pyarrow: pip install 'bigbatch\[parquet\]'"):
        load(parquet)
    assert Path(parquet).exists()
