"""Images in tar files: the same samples in the same order as in a folder, wherever they lie in the shards."""

import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bigbatch.data.image_files import kept_listing
from bigbatch.data.image_files.splits import TRAIN, find_split, open_both, open_split
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.errors import InputError
from bigbatch.recipe import Data

CLASSES = ("ant", "bee", "cow ears")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of images in two splits, some with odd names."""
    generator = np.random.default_rng(0)
    for split, name, number in ((s, c, i) for s in ("train", "val") for c in CLASSES for i in range(5)):
        place = tmp_path / "folder" / split / name
        place.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (20 + number, 30, 3), dtype=np.uint8)
        file = os.fsdecode(b"\xff.png") if number == 3 else f"{number} a.b.{('jpg', 'PNG', 'JPEG')[number % 3]}"
        Image.fromarray(pixels).save(place / file, "PNG" if number % 3 == 1 or number == 3 else "JPEG")
    return tmp_path / "folder"


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def images_of(folder, split):
    return sorted(path for path in (folder / split).rglob("*.*") if path.is_file())


def write_shards(folder, target, *, count=3, sidecars=False, name="{split}-{number:06d}.tar", seed=1):
    """Write both splits into tar files, in a random order."""
    target.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        paths = images_of(folder, split)
        order = np.random.default_rng(seed).permutation(len(paths))
        for number in range(count):
            path = target / name.format(split=split, number=number)
            path.parent.mkdir(exist_ok=True)
            with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as archive:
                for index in order[number::count]:
                    image = paths[index]
                    if sidecars:
                        add(
                            archive,
                            f"{image.stem}_{image.parent.name}.cls",
                            str(CLASSES.index(image.parent.name)).encode(),
                        )
                        add(archive, f"{image.stem}_{image.parent.name}{image.suffix}", image.read_bytes())
                        add(archive, f"{image.stem}_{image.parent.name}.json", b"{}")
                    else:
                        add(archive, f"./{image.parent.name}/{image.name}", image.read_bytes())
    return target


def load(path, **options):
    return load_data(
        Data("image-folder", str(path), image_size=8, augmentation=("random-resized-crop", "flip"), **options)
    )


def batches(data):
    return [split.read_batch(np.arange(len(split)), 3) for split in (data.train, data.validation)]


def same(first, second):
    return all(
        torch.equal(a, b)
        for x, y in zip(batches(first), batches(second), strict=True)
        for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize(
    "name", ["{split}-{number:06d}.tar", "{split}/{number}.tar", "imagenet-{split}-{number:06d}.tar"]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_shards_are_the_folder_in_another_form(folder, tmp_path, name, seed):
    shards = write_shards(folder, tmp_path / "shards", name=name, seed=seed)
    expected, found = load(folder), load(shards)
    assert same(expected, found)
    assert found.fingerprint == expected.fingerprint
    assert found.engine == expected.engine
    assert count_train_samples(Data("image-folder", str(shards))) == 15


def test_the_number_of_a_class_may_lie_beside_an_image(folder, tmp_path):
    found = load(write_shards(folder, tmp_path / "shards", sidecars=True))
    assert same(load(folder), found)
    assert found.train.listing.classes == ("0", "1", "2")


def test_a_listing_is_kept_and_made_anew_when_a_shard_changes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_listing, "KEPT_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shards = write_shards(folder, tmp_path / "shards")
    for path in shards.iterdir():
        os.utime(path, (1e9, 1e9))
    kept = open_split(find_split(shards, TRAIN))
    assert kept.file is not None
    again = pickle.loads(pickle.dumps(open_split(find_split(shards, TRAIN))))  # noqa: S301 - our own
    assert [again.read(i) for i in range(15)] == [path.read_bytes() for path in images_of(folder, "train")]
    (folder / "train" / "ant" / "new.jpg").write_bytes((folder / "train" / "ant" / "0 a.b.jpg").read_bytes())
    write_shards(folder, shards)
    assert len(open_split(find_split(shards, TRAIN))) == 16
    with pytest.raises(InputError, match=r"train-000000\.tar has .* bytes, and had"):
        [kept.read(i) for i in range(15)]


def open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_more_shards_than_may_be_open_are_read(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("bigbatch.data.image_files.open_files.MOST_OPEN", 2)
    before = open_files()
    data = load(write_shards(folder, tmp_path / "shards", count=7))
    for _ in range(3):
        assert same(load(folder), data)
    assert open_files() <= before + 4
    del data
    assert open_files() <= before


def with_member(name, content=b"", kind=tarfile.REGTYPE):
    def change(path):
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "nowhere"
            archive.addfile(member, io.BytesIO(content))

    return change


def cut_at(share):
    def change(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return change


def cut_between_members(path):
    with tarfile.open(path) as archive:
        place = archive.getmembers()[-1].offset
    path.write_bytes(path.read_bytes()[:place])


def compress(path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.add(path, "ant/0.jpg")
    path.write_bytes(content.getvalue())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut_at(0.5), "unexpected end of data"),
        (cut_at(0), "cannot read the shard"),
        (cut_between_members, "it is cut off"),
        (compress, "not compressed"),
        (lambda path: path.write_bytes(b"text" * 500), "cannot read the shard"),
        (with_member("17.jpg", b"x"), "17.jpg has no class"),
        (with_member("17.cls", b"two"), "17.cls must hold the number of a class, not 'two'"),
        (with_member("17.cls", b"-1"), "must hold the number of a class"),
        (with_member("17.cls", b"9" * 50), "must hold the number of a class"),
        (with_member("17.cls", b"1"), "has no class; a shard holds"),
        (with_member("ant/17.jpg", kind=tarfile.SYMTYPE), "ant/17.jpg is a link"),
        (with_member("ant/17.jpg", b"x"), "cannot decode the image"),
    ],
)
def test_a_shard_that_cannot_be_used_is_named(folder, tmp_path, change, message):
    shards = write_shards(folder, tmp_path / "shards")
    change(shards / "train-000001.tar")
    with pytest.raises(InputError, match=message) as error:
        batches(load(shards))
    assert "train-000001.tar" in str(error.value)


def test_a_class_without_an_image_and_two_images_of_one_name_are_refused(folder, tmp_path):
    shards = write_shards(folder, tmp_path / "shards", sidecars=True)
    with_member("late.cls", b"7")(shards / "train-000002.tar")
    with_member("late.jpg", b"x")(shards / "train-000002.tar")
    with pytest.raises(InputError, match="no image of the train split is of class 3"):
        load(shards)
    shards = write_shards(folder, tmp_path / "more")
    for _ in range(2):
        with_member("ant/same.jpg", b"x")(shards / "val-000000.tar")
    with pytest.raises(InputError, match=r"val-000000\.tar holds ant/same\.jpg twice"):
        load(shards)


def test_a_shard_that_is_cut_off_while_it_is_open_is_named(folder, tmp_path):
    listing, _ = open_both(str(write_shards(folder, tmp_path / "shards", count=1)))
    assert listing.read(0)
    os.truncate(tmp_path / "shards" / "train-000000.tar", 1_000)
    with pytest.raises(InputError, match="was cut off while it was read"):
        [listing.read(i) for i in range(15)]


def test_a_split_in_two_ways_is_refused(folder):
    write_shards(folder, folder)
    with pytest.raises(InputError, match=r"holds the train split twice, as train-000000\.tar and train/"):
        load(folder)
    shutil.rmtree(folder / "train")
    shutil.rmtree(folder / "val")
    assert len(load(folder).train) == 15


def test_without_any_split_the_line_says_what_is_looked_for(tmp_path):
    (tmp_path / "other.tar").touch()
    with pytest.raises(
        InputError, match="has no folder train/ of class folders, and no tar files, Parquet files or pack"
    ):
        load(tmp_path)


def test_words_of_a_file_decide_not_letters(folder, tmp_path):
    """`constraint.tar` and `training.tar` are no training split."""
    shards = write_shards(folder, tmp_path / "shards")
    for name in ("constraint.tar", "trainval.tar", "retrain.tar"):
        Path(shards / name).touch()
    assert same(load(folder), load(shards))
