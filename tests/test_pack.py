"""A pack: the images of a folder in one file, in the same order, for any number of processes that made it."""

import fcntl
import json
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bad_images import KINDS
from bigbatch.cli import main
from bigbatch.data import loading
from bigbatch.data.batch import to_device
from bigbatch.data.byte_images import MEAN, STD, normalised
from bigbatch.data.image_files import packing
from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_files.holding_out import hold_out
from bigbatch.data.image_files.kept_listing import fingerprint
from bigbatch.data.image_files.pack import FILES, JPEG, PIXELS, open_pack
from bigbatch.data.image_files.packing import make_pack
from bigbatch.data.load import load_data
from bigbatch.data.loading import load_batches
from bigbatch.errors import InputError, ReaderLostError
from bigbatch.recipe import Data
from bigbatch.rules.sampling import BatchIndices

ODD = os.fsdecode(b"c\xff 1.jpg")
FORMS = ((), ("--pixels",), ("--files",))


def write_class(folder, *, count=4, seed=0, size=(60, 40)):
    """Write photographs: smooth, so that a JPEG is like the original."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        small = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        name = ODD if number == 3 else f"{number} x.{('jpg', 'png', 'JPEG')[number % 3]}"
        small.resize((size[0] + number, size[1]), Image.Resampling.BICUBIC).save(
            folder / name, "PNG" if number % 3 == 1 else "JPEG", quality=95
        )


@pytest.fixture
def folder(tmp_path):
    """Return a folder with both splits."""
    for seed, (split, name) in enumerate((s, c) for s in ("train", "val") for c in ("ant", "bee hive", "cow")):
        write_class(tmp_path / "folder" / split / name, seed=seed)
    return tmp_path / "folder"


def listing_of(folder):
    return ClassFolders(folder / "train").list()


def load(path):
    return load_data(Data("image-folder", str(path), image_size=16, augmentation=("random-resized-crop", "flip")))


def read(split):
    return split.read_batch(np.arange(len(split)), 3)


def make(listing, path, *, encoding=JPEG, short_side=24, quality=90, processes=1, **options):
    return make_pack(
        listing, path, encoding=encoding, short_side=short_side, quality=quality, processes=processes, **options
    )


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_pack_has_the_same_samples_in_the_same_order(folder, tmp_path, form, capsys):
    assert main(["pack", str(folder), str(tmp_path / "packed"), "--short-side", "24", *form]) == 0
    said = capsys.readouterr().out
    assert said.count("12 images") == 2
    assert "decoded at" in said
    expected, found = load(folder), load(tmp_path / "packed")
    for split in ("train", "validation"):
        before, after = getattr(expected, split), getattr(found, split)
        assert [after.listing.name(i) for i in range(12)] == [before.listing.name(i) for i in range(12)]
        assert after.listing.classes == before.listing.classes
        (images, labels), (packed, packed_labels) = read(before), read(after)
        assert torch.equal(labels, packed_labels)
        assert torch.equal(images, packed) == (form == ("--files",))
        others = (images - packed.roll(1, 0)).abs().mean()
        assert (images - packed).abs().mean() < 0.3 * others, "the same photographs, of fewer pixels"
    assert (found.fingerprint == expected.fingerprint) == (form == ("--files",))


@pytest.mark.parametrize("encoding", [FILES, JPEG, PIXELS])
def test_a_box_is_cut_out_of_the_decoded_image(folder, tmp_path, encoding):
    pack = make(listing_of(folder), tmp_path / "a.pack", encoding=encoding).pack
    for listing in (pack, listing_of(folder)):
        for index in range(len(listing)):
            image = np.asarray(listing.image(index))
            found = listing.cut(index, lambda width, height: (3, 5, width - 2, height // 2))
            assert np.array_equal(found, image[5 : image.shape[0] // 2, 3:-2])


def test_the_shorter_side_becomes_what_was_asked_and_smaller_images_stay(folder, tmp_path):
    sizes = {i: listing_of(folder).image(i).size for i in range(12)}
    for short_side in (24, 40, 500):
        for encoding in (JPEG, PIXELS):
            pack = make(
                listing_of(folder), tmp_path / f"{short_side}{encoding}.pack", encoding=encoding, short_side=short_side
            ).pack
            for i, (width, height) in sizes.items():
                scale = min(1, short_side / min(width, height))
                assert pack.image(i).size == (round(width * scale), round(height * scale))
                if scale == 1 and (encoding == PIXELS or not listing_of(folder).name(i).endswith(".png")):
                    assert np.array_equal(pack.image(i), listing_of(folder).image(i))


def test_processes_change_no_byte(folder, tmp_path):
    contents = set()
    for processes in (1, 2, 5):
        path = tmp_path / f"{processes}.pack"
        make(listing_of(folder), path, processes=processes)
        contents.add(path.read_bytes())
    assert len(contents) == 1


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 1), flipped=st.booleans())
def test_a_pack_is_gone_on_with_from_any_byte(tmp_path_factory, cut, flipped):
    """What was written before may be cut off anywhere, and end in zeros or in a wrong byte."""
    root = tmp_path_factory.mktemp("pack")
    write_class(root / "train" / "ant", count=6)
    listing = ClassFolders(root / "train").list()
    whole = make(listing, root / "a.pack").pack
    content = (root / "a.pack").read_bytes()
    part = bytearray(content[: int(cut * len(content))])
    if flipped and len(part) > 300:
        part[-1] ^= 1
        part += bytes(500)
    (root / "b.pack.part").write_bytes(part)
    assert make(listing, root / "b.pack").left_out == ()
    assert (root / "b.pack").read_bytes() == content
    assert not (root / "b.pack.part").exists()
    assert len(whole) == 6


def test_only_what_is_missing_is_encoded_again(folder, tmp_path, monkeypatch):
    listing = listing_of(folder)
    make(listing, tmp_path / "a.pack")
    content = (tmp_path / "a.pack").read_bytes()
    (tmp_path / "b.pack.part").write_bytes(content[: len(content) // 2])
    encoded, encode = [], packing.encode
    monkeypatch.setattr(packing, "encode", lambda *args: encoded.append(args[2]) or encode(*args))
    make(listing, tmp_path / "b.pack")
    assert 0 < len(encoded) < 12
    assert encoded == list(range(encoded[0], 12))
    encoded.clear()
    assert len(make(listing, tmp_path / "b.pack").pack) == 12
    assert not encoded


def test_other_options_or_images_do_not_go_on(folder, tmp_path):
    path = tmp_path / "a.pack"
    make(listing_of(folder), path)
    with pytest.raises(InputError, match=r"a\.pack is there already, of other images or options: remove it"):
        make(listing_of(folder), path, quality=80)
    path.rename(tmp_path / "a.pack.part")
    write_class(folder / "train" / "dog", seed=9)
    with pytest.raises(InputError, match=r"a\.pack\.part is unfinished, and of other images or options: remove it"):
        make(listing_of(folder), path)


def test_a_killed_command_is_gone_on_with(folder, tmp_path):
    for split in ("train", "val"):
        write_class(folder / split / "many", size=(400, 300))
        for number in range(60):
            os.link(folder / split / "many" / "0 x.jpg", folder / split / "many" / f"link {number}.jpg")
    command = [sys.executable, "-m", "bigbatch", "pack", str(folder), str(tmp_path / "out"), "--short-side", "24"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = tmp_path / "out" / "train.pack.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 5_000):
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) in {0, 130}
    assert main(command[3:]) == 0
    assert main(["pack", str(folder), str(tmp_path / "again"), "--short-side", "24"]) == 0
    assert (tmp_path / "out" / "train.pack").read_bytes() == (tmp_path / "again" / "train.pack").read_bytes()


def test_two_commands_do_not_write_one_file(folder, tmp_path):
    with (tmp_path / "a.pack.part").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"a\.pack\.part is being written by another process"):
            make(listing_of(folder), tmp_path / "a.pack")
    assert len(make(listing_of(folder), tmp_path / "a.pack").pack) == 12


def test_a_process_that_is_killed_is_said_and_nothing_is_lost(folder, tmp_path, monkeypatch):
    encode = packing.encode
    monkeypatch.setattr(packing, "CHUNK", 2)
    monkeypatch.setattr(packing, "encode", lambda *args: encode(*args) if args[2] != 7 else os.kill(os.getpid(), 9))
    with pytest.raises(ReaderLostError, match="has ended; memory has often run out then: use fewer --jobs"):
        make(listing_of(folder), tmp_path / "a.pack", processes=2)
    monkeypatch.undo()
    make(listing_of(folder), tmp_path / "a.pack")
    make(listing_of(folder), tmp_path / "b.pack")
    assert (tmp_path / "a.pack").read_bytes() == (tmp_path / "b.pack").read_bytes()


def test_every_broken_image_is_named_and_can_be_left_out(folder, tmp_path, capsys):
    broken = [
        kind for kind in KINDS if isinstance(kind.result, str) and kind.listed and kind.result != "Permission denied"
    ]
    sound = [kind for kind in KINDS if isinstance(kind.result, tuple) and min(kind.result) > 1]
    for number, kind in enumerate((*broken, *sound)):
        (tmp_path / "one").mkdir(exist_ok=True)
        path = kind.write(tmp_path / "one")
        path.rename(folder / "train" / "ant" / f"z{number:03d}{path.suffix}")
    command = ["pack", str(folder), str(tmp_path / "packed"), "--short-side", "24"]
    assert main(command) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(broken) + 1
    assert all(f"z{number:03d}." in line for number, line in enumerate(lines[:-1]))
    assert f"{len(broken)} of the {12 + len(broken) + len(sound)} images of " in lines[-1]
    assert main([*command, "--skip-broken", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["train"]["left_out"], result["train"]["images"]) == (len(broken), 12 + len(sound))
    data = load(tmp_path / "packed")
    assert len(data.train) == 12 + len(sound)
    assert read(data.train)[1].tolist() == [0] * (4 + len(sound)) + [1] * 4 + [2] * 4
    names = [data.train.listing.name(i) for i in range(4, 4 + len(sound))]
    assert [name[:4] for name in names] == [f"z{len(broken) + i:03d}" for i in range(len(sound))]


def test_a_class_of_which_nothing_is_left_is_named(folder, tmp_path):
    for path in (folder / "train" / "bee hive").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="the class bee hive has no image left"):
        make(listing_of(folder), tmp_path / "a.pack", skips_broken=True)


def damage(place, change):
    def apply(path):
        content = bytearray(path.read_bytes())
        index = place if place >= 0 else len(content) + place
        content[index] = change(content[index])
        path.write_bytes(content)

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: os.truncate(path, path.stat().st_size - 1), "is cut off"),
        (lambda path: os.truncate(path, 500), "is cut off"),
        (lambda path: os.truncate(path, 0), "is no pack"),
        (lambda path: path.write_bytes(b"text" * 100), "is no pack"),
        (
            lambda path: path.write_bytes(path.read_bytes().replace(b'"version": 1', b'"version": 9')),
            "of version 9, not 1",
        ),
        (damage(-100, lambda byte: byte ^ 1), "cannot read the pack"),
        (damage(400, lambda byte: byte ^ 1), "is damaged: its checksum differs"),
    ],
)
def test_a_pack_that_cannot_be_used_is_named(folder, tmp_path, change, message):
    path = tmp_path / "train.pack"
    make(listing_of(folder), path)
    change(path)
    with pytest.raises(InputError, match=message) as error:
        [open_pack(path).image(i) for i in range(12)]
    assert str(path) in str(error.value)


def test_a_pack_may_be_moved_renamed_and_sent_to_a_reader(folder, tmp_path):
    make(listing_of(folder), tmp_path / "train.pack")
    (tmp_path / "elsewhere").mkdir()
    path = (tmp_path / "train.pack").rename(tmp_path / "elsewhere" / "val.pack")
    pack = open_pack(path)
    again = pickle.loads(pickle.dumps(pack))  # noqa: S301 - our own
    assert len(pickle.dumps(pack)) < 300
    assert [again.read(i) for i in range(12)] == [pack.read(i) for i in range(12)]
    assert fingerprint(again) == fingerprint(pack)


def test_other_content_has_another_fingerprint(folder, tmp_path):
    """Also if every image has the same number of bytes, as pixels have."""
    for name in "ab":
        (tmp_path / name).mkdir()
        make(listing_of(folder), tmp_path / name / "train.pack", encoding=PIXELS)
        path = folder / "train" / "ant" / "1 x.png"
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    first, second = (open_pack(tmp_path / name / "train.pack") for name in "ab")
    assert fingerprint(first) != fingerprint(second)


@given(share=st.floats(0.01, 0.99), counts=st.lists(st.integers(2, 30), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_what_is_held_out_is_a_share_of_each_class_by_the_names(tmp_path_factory, share, counts):
    root = tmp_path_factory.mktemp("photos")
    for label, count in enumerate(counts):
        (root / str(label)).mkdir()
        for number in range(count):
            (root / str(label) / f"{number}.jpg").write_bytes(b"x" * number)
    listing = ClassFolders(root).list()
    if any(count - max(1, round(share * count)) < 1 for count in counts):
        with pytest.raises(InputError, match="has no image left"):
            hold_out(listing, share)
        return
    train, validation = hold_out(listing, share)
    for label, count in enumerate(counts):
        held_out = int(np.diff(validation.starts)[label])
        assert held_out == max(1, round(share * count))
        assert held_out + int(np.diff(train.starts)[label]) == count
    places = [part.place(i) for part in (train, validation) for i in range(len(part))]
    assert sorted(places) == sorted(listing.place(i) for i in range(len(listing)))
    assert all(len(part.read(i)) == part.sizes[i] for part in (train, validation) for i in range(len(part)))


def test_a_folder_without_splits_is_split(tmp_path, capsys):
    for seed, name in enumerate(("cats", "big dogs")):
        write_class(tmp_path / "photos" / name, seed=seed)
    command = ["pack", str(tmp_path / "photos"), str(tmp_path / "packed")]
    assert main(command) == 2
    assert "bigbatch pack FOLDER PACKED --validation-share 0.1 splits a folder of classes" in capsys.readouterr().err
    assert main([*command, "--validation-share", "0.3"]) == 0
    data = load(tmp_path / "packed")
    assert (len(data.train), len(data.validation)) == (6, 2)
    assert data.train.listing.classes == ("big dogs", "cats")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--quality", "0"], "from 1 to 95"),
        (["--short-side", "0"], "from 1 to"),
        (["--quality", "80", "--pixels"], "not allowed with"),
        (["--validation-share", "1"], "between 0 and 1"),
        (["--validation-share", "0.1"], "has splits of its own; leave --validation-share out"),
        (["--jobs", "0"], "at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(folder, tmp_path, words, message, capsys):
    assert main(["pack", str(folder), str(tmp_path / "packed"), *words]) == 2
    assert message in capsys.readouterr().err


def test_places_that_cannot_be_are_refused(folder, tmp_path, capsys):
    assert main(["pack", str(folder), f"{folder}/../folder"]) == 2
    assert "OUTPUT must be another folder" in capsys.readouterr().err
    assert main(["pack", str(tmp_path / "none"), str(tmp_path / "packed")]) == 2
    assert "there is no data folder" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main(["pack", str(folder), str(tmp_path / "file" / "packed")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_full_disk_is_said_in_a_line(folder, tmp_path, monkeypatch, capsys):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "put_in_place", write)
    assert main(["pack", str(folder), str(tmp_path / "packed"), "--files"]) == 2
    assert "(No space left on device); the same command goes on with what is there" in capsys.readouterr().err
    monkeypatch.undo()
    assert main(["pack", str(folder), str(tmp_path / "packed"), "--files"]) == 0
    assert open_pack(tmp_path / "packed" / "train.pack").encoding == FILES


@pytest.mark.parametrize("readers", [0, 1, 2])
def test_readers_hand_bytes_over_and_change_no_bit(folder, tmp_path, readers, monkeypatch):
    assert main(["pack", str(folder), str(tmp_path / "packed"), "--short-side", "24", "--pixels"]) == 0
    moved = []
    monkeypatch.setattr(loading, "to_device", lambda batch, device: moved.append(batch) or to_device(batch, device))
    for path in (folder, tmp_path / "packed"):
        images = load(path).train
        places = [BatchIndices(0, np.arange(start, start + 4)) for start in (0, 4, 8)]
        found = load_batches(images, places, seed=5, device=torch.device("cpu"), loader_workers=readers)
        for place, (pixels, labels) in zip(places, found, strict=True):
            expected, expected_labels = images.read_batch(place.indices, place.augmentation_key(5))
            assert torch.equal(pixels, expected)
            assert torch.equal(labels, expected_labels)
            assert moved[-1][0].dtype == torch.uint8


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_a_pixel_is_normalised_alone(seed, count, side):
    """As torchvision's ToTensor and Normalize do it: the same bits."""
    pixels = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, side, side + 1, 3), dtype=np.uint8))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = pixels.permute(0, 3, 1, 2).float().div(255).sub(mean).div(std)
    assert torch.equal(normalised(pixels), expected)
    assert normalised(pixels).is_contiguous()
