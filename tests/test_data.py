"""Data sets: what is read, how it is augmented, and what is refused."""

import gzip
import io
import pickle
import sys
import tarfile
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bigbatch.data import fashion_mnist
from bigbatch.data.augmentation import CROP_WORDS, flip, padded_crop, random_resized_crop
from bigbatch.data.cifar10 import PYTHON_TRAIN
from bigbatch.data.dataset import MapDataset
from bigbatch.data.fashion_mnist import DEBIAN_FOLDER, FILES, download, find_folder, read_idx
from bigbatch.data.image_files import decode as decoding
from bigbatch.data.image_files.decode import open_image
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.data.loading import load_batches
from bigbatch.data.minibatches import Minibatches
from bigbatch.errors import InputError
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Data
from bigbatch.recipe.presets import digits
from bigbatch.rules.randomness.keyed import random_words
from bigbatch.rules.sampling import BatchIndices
from bigbatch.runs.contract import facts_of
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.training.trainer import train

CPU = torch.device("cpu")


def test_digits_are_all_there():
    data = load_data(Data("digits"))
    assert (len(data.train), len(data.validation), data.num_classes, data.in_channels) == (1280, 517, 10, 1)
    images, labels = data.train.read_batch(np.arange(1280), 0)
    assert images.shape == (1280, 1, 8, 8)
    assert abs(images.mean()) < 0.001
    assert abs(images.std() - 1) < 0.001
    assert np.bincount(labels).min() > 110
    assert data.fingerprint == "81252d585655f7b6c0bdc87105bb14432f44994f86cdb12a2c0b290e92a3fddf"


def test_fashion_mnist_is_read_from_debians_package():
    """.ci/run installs the package; elsewhere the package or data.path provides the files."""
    assert DEBIAN_FOLDER.is_dir(), "install Debian's package dataset-fashion-mnist for this test"
    data = load_data(Data("fashion-mnist", augmentation=("flip",)))
    assert (len(data.train), len(data.validation), data.num_classes) == (60_000, 10_000, 10)
    images, labels = data.validation.read_batch(np.arange(10_000), 0)
    assert np.bincount(labels).tolist() == [1000] * 10
    assert abs(images.mean()) < 0.01


def test_fashion_mnist_from_a_folder_and_its_damage(tmp_path, write_fashion, idx):
    folder = write_fashion(tmp_path / "f")
    assert len(load_data(Data("fashion-mnist", path=str(folder))).train) == 6
    images = folder / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"cannot read {images}"):
        read_idx(images)
    images.write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\0" * 40))
    with pytest.raises(InputError, match="is damaged"):
        read_idx(images)
    for header in (b"", b"\0\0\x08", b"junk", b"\0\0\x08\x00", b"\0\0\x08\xff\0"):
        images.write_bytes(gzip.compress(header))
        with pytest.raises(InputError, match="is damaged"):
            read_idx(images)
    images.write_bytes(idx(np.zeros((5, 28, 28))))
    with pytest.raises(InputError, match="hold"):
        load_data(Data("fashion-mnist", path=str(folder)))
    images.unlink()
    with pytest.raises(InputError, match="has no train-images-idx3-ubyte"):
        find_folder(str(folder))


def test_a_download_is_checked_and_appears_whole_or_not_at_all(tmp_path, write_fashion):
    source = write_fashion(tmp_path / "source")
    name, digest = next(iter(FILES.items()))
    target = tmp_path / "cache" / name
    with pytest.raises(InputError, match="is not the file it should be"):
        download((source / name).as_uri(), target, digest)
    with pytest.raises(InputError, match="cannot download"):
        download((source / "missing").as_uri(), target, digest)
    assert not target.exists()
    assert not list(tmp_path.glob("cache/*"))
    real = DEBIAN_FOLDER / name
    download(real.as_uri(), target, digest)
    assert target.read_bytes() == real.read_bytes()


def write_images(root: Path, splits=("train", "val"), classes=("ant", "bee"), size=(40, 30), count=3) -> Path:
    generator = np.random.default_rng(0)
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root


def test_an_image_folder_has_sorted_classes_and_files(tmp_path):
    root = write_images(tmp_path / "images", classes=("bee", "ant"))
    recipe = Data("image-folder", path=str(root), image_size=16, augmentation=("random-resized-crop", "flip"))
    data = load_data(recipe)
    assert data.train.listing.classes == ("ant", "bee")
    assert [data.train.listing.label(i) for i in range(6)] == [0, 0, 0, 1, 1, 1]
    assert count_train_samples(recipe) == 6
    images, labels = data.train.read_batch(np.array([5, 0]), 7)
    assert images.shape == (2, 3, 16, 16)
    assert labels.tolist() == [1, 0]
    again, _ = data.train.read_batch(np.array([0]), 7)
    assert torch.equal(again[0], images[1])
    assert not torch.equal(data.train.read_batch(np.array([0]), 8)[0][0], images[1])
    central = data.validation.read_batch(np.array([0]), 1)[0]
    assert torch.equal(central, data.validation.read_batch(np.array([0]), 2)[0])


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    def message(path, **options):
        with pytest.raises(InputError) as error:
            load_data(Data("image-folder", path=str(path), **options))
        return str(error.value)

    assert "needs a folder: --set data.path=FOLDER" in message("")
    assert "there is no data folder" in message(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "has no folder train/" in message(tmp_path / "empty")
    (tmp_path / "empty" / "train").mkdir()
    (tmp_path / "empty" / "val").mkdir()
    assert "is empty: it must hold one folder for each class" in message(tmp_path / "empty")
    root = write_images(tmp_path / "images")
    (root / "train" / "cat").mkdir()
    assert f"{root / 'train' / 'cat'} holds no image" in message(root)
    write_images(root, splits=("train",), classes=("dog",))
    (root / "train" / "cat").rmdir()
    assert "the splits differ in their classes; only one of them has dog" in message(root)
    good = write_images(tmp_path / "good")
    assert len(load_data(Data("image-folder", path=str(good), num_train_samples=7)).train) == 6  # a preset's number
    assert "'crop' is for small images" in message(good, augmentation=("crop",))


def test_images_that_cannot_be_decoded_are_named(tmp_path):
    root = write_images(tmp_path)
    whole = (root / "train" / "ant" / "0.jpg").read_bytes()
    path = tmp_path / "bad.jpg"
    gif = io.BytesIO()
    Image.new("RGB", (4, 4)).save(gif, "GIF")
    for content in (b"", b"not an image", whole[: len(whole) // 2], whole[:20], gif.getvalue()):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"cannot decode the image {path}"):
            open_image(path)
    bomb = tmp_path / "bomb.png"
    Image.new("1", (10_000, 5_001)).save(bomb)
    with pytest.raises(InputError, match="50,010,000 pixels, more than 50,000,000"):
        open_image(bomb)
    for mode in ("L", "RGBA", "P", "1", "I;16"):
        png = tmp_path / f"{mode[0]}.png"
        Image.new(mode, (5, 4)).save(png)
        assert np.asarray(open_image(png)).shape == (4, 5, 3)


@pytest.mark.parametrize("loader_workers", [0, 1])
def test_an_error_of_the_data_is_one_line_also_from_a_loaders_process(tmp_path, loader_workers):
    root = write_images(tmp_path)
    (root / "train" / "bee" / "1.png").write_bytes(b"broken")
    data = load_data(Data("image-folder", path=str(root), image_size=8))
    indices = [BatchIndices(0, np.arange(i, i + 2)) for i in (0, 2, 4)]
    batches = load_batches(data.train, indices, seed=0, device=CPU, loader_workers=loader_workers)
    assert len(next(batches)[1]) == 2
    with pytest.raises(InputError, match=r"bee/1.png \(.*replace or remove it$"):
        list(batches)


def cifar_batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(count)
    return generator.integers(0, 256, (count, 3072), dtype=np.uint8), generator.integers(0, 10, count)


def cifar_files(kind: str) -> dict[str, bytes]:
    files = {}
    for i in range(1, 7):
        images, labels = cifar_batch(10 + i)
        name = "test_batch" if i == 6 else f"data_batch_{i}"
        if kind == "binary":
            files[f"{name}.bin"] = np.concatenate([labels[:, None].astype(np.uint8), images], 1).tobytes()
        else:
            files[name] = pickle.dumps({b"data": images, b"labels": labels.tolist()}, protocol=2)
    return files


@pytest.mark.parametrize("kind", ["binary", "python"])
@pytest.mark.parametrize("packed", [True, False])
def test_cifar10_from_its_original_archives(tmp_path, kind, packed):
    path = tmp_path / ("c.tar.gz" if packed else "c")
    files = cifar_files(kind)
    if packed:
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"cifar-10/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    else:
        path.mkdir()
        for name, content in files.items():
            (path / name).write_bytes(content)
    data = load_data(Data("cifar10", path=str(path), augmentation=("crop", "flip")))
    assert (len(data.train), len(data.validation)) == (sum(range(11, 16)), 16)
    images, labels = cifar_batch(16)
    assert np.array_equal(data.validation.images.numpy().reshape(16, -1), images)
    assert data.validation.labels.tolist() == labels.tolist()


def test_cifar10_from_a_folder_of_images(tmp_path):
    root = write_images(tmp_path / "c", splits=("train", "test"), size=(32, 32))
    assert len(load_data(Data("cifar10", path=str(root))).train) == 6
    wrong = write_images(tmp_path / "w", splits=("train", "test"))
    with pytest.raises(InputError, match="is 40x30 pixels, not 32x32"):
        load_data(Data("cifar10", path=str(wrong)))


def test_cifar10_that_is_not_there_or_damaged_or_hostile(tmp_path):
    def message(path):
        with pytest.raises(InputError) as error:
            load_data(Data("cifar10", path=str(path)))
        return str(error.value)

    assert "cifar10 needs its data: set data.path" in message("")
    assert "does not hold CIFAR-10" in message(tmp_path)
    (tmp_path / "junk.tar.gz").write_bytes(b"junk")
    assert "cannot read the archive" in message(tmp_path / "junk.tar.gz")
    whole = gzip.compress(bytes(10_000) + b"tail")
    (tmp_path / "junk.tar.gz").write_bytes(whole[:30] + b"\xff" + whole[31:])
    assert "cannot read the archive" in message(tmp_path / "junk.tar.gz")
    for name, content in cifar_files("binary").items():
        (tmp_path / name).write_bytes(content[:-1])
    assert "is damaged" in message(tmp_path)
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name in cifar_files("python"):
        (hostile / name).write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    assert "asks for os.system, which a CIFAR-10 file has no need of" in message(hostile)
    assert not (tmp_path / "owned").exists()


def test_labels_sizes_and_archives_that_cannot_be_are_refused(tmp_path, write_fashion, idx, monkeypatch):
    folder = write_fashion(tmp_path / "f")
    load = partial(load_data, Data("fashion-mnist", path=str(folder)))
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(idx(np.full(4, 2)))  # trained on 0 and 1
    with pytest.raises(InputError, match="a label lies outside 0 to 1"):
        load()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((4, 0, 28))))
    with pytest.raises(InputError, match="hold"):
        load()
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 100]) + b"\0\0\0\1" * 100 + b"x"))
    with pytest.raises(InputError, match="is damaged"):
        load()
    monkeypatch.setattr("bigbatch.data.gzipped.MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(InputError, match="it unpacks to more than 1,000 bytes"):
        load()
    (tmp_path / "cifar.tar.gz").write_bytes(gzip.compress(bytes(1_001)))
    with pytest.raises(InputError, match="it unpacks to more than 1,000 bytes"):
        load_data(Data("cifar10", path=str(tmp_path / "cifar.tar.gz")))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("np.zeros((2, 3072), np.uint8)", "[0, -1]"),
        ("np.zeros((2, 3072), np.uint8)", "[0, 10**6]"),
        ("np.zeros((2, 3072), np.uint8)", "[0, 10**30]"),
        ("np.zeros((2, 3071), np.uint8)", "[0, 1]"),
        ("[[]]", "[]"),
        ("'text'", "[0, 1]"),
    ],
)
def test_pickles_whose_values_cannot_be_are_refused(images, labels, tmp_path):
    batch = {b"data": eval(images), b"labels": eval(labels)}  # noqa: S307 - the lines above
    for name in (*PYTHON_TRAIN, "test_batch"):
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    with pytest.raises(InputError):
        load_data(Data("cifar10", path=str(tmp_path)))


def test_a_pickle_that_asks_for_all_memory_is_refused(tmp_path):
    hostile = b"cnumpy\nndarray\n((I" + b"9" * 15 + b"\ntR."  # an array of 8 petabytes
    for name in (*PYTHON_TRAIN, "test_batch"):
        (tmp_path / name).write_bytes(hostile)
    with pytest.raises(InputError, match="is damaged"):
        load_data(Data("cifar10", path=str(tmp_path)))


def test_unknown_data_and_wrong_user_data_are_refused():
    for recipe, text in [
        (Data("digit"), "unknown data set 'digit'; did you mean 'digits'?"),
        (Data("builtins:dict"), "must return \\(training dataset, validation dataset\\)"),
        (Data("digits", augmentation=("random-resized-crop",)), "is for image-folder"),
    ]:
        with pytest.raises(InputError, match=text):
            load_data(recipe)


class Drawing:
    """Samples that draw from torch's global generator."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index):
        return torch.randn(2) + index, index


@pytest.mark.parametrize("loader_workers", [0, 2])
def test_a_users_dataset_is_keyed_by_sample_not_by_order_or_loader(loader_workers):
    def read(order, epoch=0, seed=0):
        indices = [BatchIndices(epoch, np.array([i])) for i in order]
        batches = load_batches(MapDataset(Drawing()), indices, seed=seed, device=CPU, loader_workers=loader_workers)
        return {int(labels[0]): inputs[0].tolist() for inputs, labels in batches}

    first = read([0, 1, 2, 3, 4, 5])
    assert read([5, 3, 0, 1, 2, 4]) == first
    assert read(range(6), epoch=1)[3] != first[3]
    assert read(range(6), seed=1)[3] != first[3]
    torch.manual_seed(12345)
    assert read([4]) == {4: first[4]}


def test_blocks_that_a_caller_leaves_do_not_slip_into_the_next_minibatch():
    minibatches = Minibatches(Drawing(), minibatch_size=4, worker_minibatch_size=1)
    whole = [[int(block[1][0]) for block in part] for part in minibatches.epoch(0)]
    minibatches = Minibatches(Drawing(), minibatch_size=2, worker_minibatch_size=1)
    every = [[int(block[1][0]) for block in part] for part in minibatches.epoch(0)]
    assert [int(next(part)[1][0]) for part in minibatches.epoch(0)] == [part[0] for part in every]
    assert whole[0] == every[0] + every[1]
    assert [[int(b[1][0]) for b in part] for part in minibatches.epoch(0, first=2)] == every[2:]


def test_all_epochs_in_one_loop_are_those_of_one_epoch_after_another_from_wherever_it_begins():
    minibatches = Minibatches(Drawing(), minibatch_size=2, worker_minibatch_size=1)
    one_by_one = [[batch[1].tolist() for batch in part] for epoch in range(3) for part in minibatches.epoch(epoch)]
    assert len(one_by_one) == 9
    for first in range(10):
        rest = [[batch[1].tolist() for batch in part] for part in minibatches.epochs(3, first=first)]
        assert rest == one_by_one[first:]


def test_a_users_random_split_is_the_same_everywhere_and_other_randomness_is_refused(monkeypatch):
    def split(how):
        def make():
            order = {"torch": torch.randperm, "numpy": np.random.permutation}[how](20).tolist()
            return [(torch.tensor([float(i)]), i % 2) for i in order[:15]], [(torch.zeros(1), 0)]

        monkeypatch.setattr("statistics.split", make, raising=False)
        return load_data(Data("statistics:split"))

    for how in ("torch", "numpy"):
        fingerprints = set()
        for seed in (1, 2):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - whatever happened before must not matter
            fingerprints.add(split(how).fingerprint)
        assert len(fingerprints) == 1
    generator = np.random.default_rng()
    monkeypatch.setattr("statistics.split", lambda: (Noise(generator), [(torch.zeros(1), 0)]), raising=False)
    with pytest.raises(InputError, match=r"a generator of its own, data\.generator"):
        load_data(Data("statistics:split"))


class Noise:
    """Samples from a generator of their own."""

    def __init__(self, generator):
        self.generator = generator

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index):
        return torch.from_numpy(self.generator.standard_normal(2)), index


@given(st.integers(0, 2**63), st.permutations(range(8)))
def test_augmentation_is_a_function_of_the_sample(key, order):
    images = torch.arange(8 * 2 * 5 * 9, dtype=torch.int32).view(8, 2, 9, 5)
    words = random_words(key, np.arange(8), 3)
    for augment, columns in ((flip, 0), (padded_crop, slice(1, 3))):
        together = augment(images, words[:, columns])
        assert together.shape == images.shape
        assert torch.equal(augment(images[order], words[order][:, columns]), together[order])


def test_flip_and_crop_do_what_they_say():
    images = torch.arange(256, dtype=torch.int16).view(1, 1, 16, 16).expand(200, 1, 16, 16)
    words = random_words(0, np.arange(200), 2)
    flipped = flip(images, words[:, 0])
    mirrored = sum(torch.equal(image, images[0].flip(2)) for image in flipped)
    assert mirrored + sum(torch.equal(image, images[0]) for image in flipped) == 200
    assert 70 < mirrored < 130
    padded = torch.nn.functional.pad(images[:1], (2, 2, 2, 2))
    places = {padded[0, 0, y : y + 16, x : x + 16].numpy().tobytes() for y in range(5) for x in range(5)}
    cut = {image.numpy().tobytes() for image in padded_crop(images, words)}
    assert cut == places


@given(st.integers(1, 600), st.integers(1, 600), st.integers(0, 2**63))
def test_a_random_resized_crop_lies_inside_the_image(width, height, key):
    left, upper, right, lower = random_resized_crop(width, height, random_words(key, np.array([0]), CROP_WORDS)[0])
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height


def test_a_user_without_a_home_is_asked_for_a_place(tmp_path, monkeypatch):
    def home():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(InputError, match=r"set data\.path or XDG_CACHE_HOME"):
        find_folder("")


def test_without_pillow_a_folder_of_images_is_refused_in_a_line(tmp_path, monkeypatch):
    for split in ("train", "val"):
        (tmp_path / split / "ant").mkdir(parents=True)
        (tmp_path / split / "ant" / "a.png").touch()
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(InputError, match=r"reading images needs Pillow: pip install 'bigbatch\[jpeg\]'"):
        load_data(Data("image-folder", str(tmp_path)))


def test_what_decodes_the_images_is_recorded_and_another_decoder_is_named(tmp_path, monkeypatch, capsys):
    """Another build of Pillow may make other pixels of the same files, as one does that cuts the lowest bit."""
    for split, name in product(("train", "val"), ("ant", "bee")):
        (tmp_path / split / name).mkdir(parents=True)
        for i in range(8):
            Image.new("RGB", (20, 30), (100, 10 * i, 51)).save(tmp_path / split / name / f"{i}.png")
    data = Data("image-folder", str(tmp_path), image_size=8)
    recipe = replace(digits(), data=data, minibatch_size=4, worker_minibatch_size=4, epochs=1)
    folder, machine = RunFolder(tmp_path / "run"), Machine(Processes(), torch.device("cpu"), 1)
    train(recipe, folder, machine, stop_after_iteration=1)
    engine = folder.read_summary().attempt.engine
    assert engine["decoder"].startswith(f"Pillow {PIL.__version__}, libjpeg")
    decode = decoding._to_rgb
    monkeypatch.setattr(decoding, "_to_rgb", lambda image: decode(image).point(lambda value: value & 254))
    train(recipe, folder, machine, stop_after_iteration=2)
    now = folder.read_summary().attempt.engine
    assert now["decoder"] == engine["decoder"]
    said = f"warning: decoded pixels was {engine['decoded pixels']} and is {now['decoded pixels']}: the bits can differ"
    assert said in capsys.readouterr().out
    known = facts_of(read_record(folder.path))
    assert known["engine.decoded pixels"] == f"{engine['decoded pixels']}, then {now['decoded pixels']}"
