"""Images with a class for each pixel: what is read, how it is cut, and what is refused."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from annotated_data import IMAGES, write_masks
from bigbatch.data.batch import batch_digest
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.data.mask_folder import read_mask
from bigbatch.data.presence import check_presence
from bigbatch.data.resizing import nearest
from bigbatch.errors import InputError
from bigbatch.recipe import Data

ALL = np.arange(len(IMAGES))


@pytest.fixture
def root(tmp_path):
    return write_masks(tmp_path / "masks")


def data(root, **fields):
    return Data("mask-folder", str(root), **({"image_size": 48} | fields))


def read(recipe):
    return load_data(recipe).train.read_batch(ALL, key=0)


def refusal(root, act=load_data):
    with pytest.raises(InputError) as error:
        act(data(root))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_batch_is_squares_and_the_class_of_each_pixel(root):
    splits = load_data(data(root))
    images, classes = splits.train.read_batch(ALL, key=0)
    assert (images.shape, images.dtype) == ((4, 3, 48, 48), torch.float32)
    assert (classes.shape, classes.dtype) == ((4, 48, 48), torch.int64)
    assert [np.unique(one).tolist() for one in classes] == [[-100, 0, 1], [-100, 0, 1, 2], [0], [-100, 0, 1]]
    assert (splits.num_classes, splits.in_channels) == (3, 3)
    assert count_train_samples(data(root)) == 4


@pytest.mark.parametrize("augmentation", [(), ("flip",), ("random-resized-crop",), ("random-resized-crop", "flip")])
def test_a_mask_stays_on_its_image(root, augmentation):
    """White pixels are those of a class or void; bilinear and nearest differ at an edge alone."""
    splits = load_data(data(root, augmentation=augmentation))
    seen = set()
    for key in range(8):
        images, classes = splits.train.read_batch(ALL, key)
        is_white = images[:, 0] > images[:, 0].mean(dim=(1, 2), keepdim=True).clamp(min=0)
        assert (is_white == (classes != 0)).float().mean() > 0.93
        seen.add(batch_digest(images))
        assert batch_digest(splits.train.read_batch(ALL[1:], key)[1]) == batch_digest(classes[1:])
    assert (len(seen) > 2) == bool(augmentation)
    first, other = (batch_digest(splits.validation.read_batch(ALL, key)) for key in (0, 1))
    assert first == other


def test_nearest_is_pillow_s_nearest():
    mask = np.random.default_rng(0).integers(0, 9, (37, 53)).astype(np.uint8)
    for box, width, height in [((0, 0, 53, 37), 20, 91), ((3, 5, 40, 11), 64, 64), ((7, 7, 8, 8), 3, 3)]:
        image = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST, box=box)
        assert np.array_equal(np.asarray(image), nearest(mask, box, width, height))


@pytest.mark.parametrize("mode", ["L", "P", "I;16", "1"])
def test_every_kind_of_mask_is_read_as_numbers(tmp_path, mode):
    numbers = np.array([[0, 1], [1, 0]], np.uint8)
    if mode == "P":
        image = Image.new("P", (2, 2))
        image.putdata(numbers.reshape(-1).tolist())
        image.putpalette([9, 9, 9, 200, 0, 0])
    elif mode == "1":
        image = Image.fromarray(numbers * 255).convert("1")
    else:
        image = Image.fromarray(numbers.astype(np.uint16 if mode == "I;16" else np.uint8))
    image.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == numbers.tolist()


def test_named_classes_are_counted_without_reading_a_mask(root):
    (root / "classes.txt").write_text("ground\nant\ncell\n\nleaf\n")
    (root / "train" / "masks" / "0.png").write_bytes(b"")
    assert load_data(data(root)).num_classes == 4


def remove(name):
    def change(root):
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def save(name, pixels):
    return lambda root: Image.fromarray(np.array(pixels, np.uint8)).save(root / name)


def empty(root):
    for path in root.glob("train/*/*"):
        path.unlink()


def only_0_and_255(root):
    for path in root.glob("*/masks/*"):
        numbers = np.asarray(Image.open(path))
        Image.fromarray(np.where(numbers > 0, 255, 0).astype(np.uint8)).save(path)


WRONG = {
    "no folder": (shutil.rmtree, "there is no data folder"),
    "no training": (remove("train"), "has no folder train/"),
    "no validation": (remove("val"), "has no folder val/"),
    "no folder of masks": (remove("val/masks"), "has no folder masks/"),
    "no image": (empty, "holds no image"),
    "an image without a mask": (remove("train/masks/1.png"), "train/images/1.png has no mask of its name"),
    "a mask without an image": (remove("val/images/1.png"), "val/masks/1.png has no image of its name"),
    "two images of one name": (lambda root: shutil.copy(root / "train/images/1.png", root / "train/images/1.jpg"),
                               "have one name"),
    "a mask of colours": (save("train/masks/0.png", np.zeros((30, 40, 3))), "is a PNG in RGB"),
    "a mask that is a JPEG": (
        lambda root: Image.new("L", (40, 30)).save(root / "train/masks/0.png", "JPEG"), "is a JPEG in L"),
    "a mask that is cut": (lambda root: (root / "train/masks/0.png").write_bytes(b"\x89PNG"), "cannot decode"),
    "masks of 0 and 255": (only_0_and_255, "hold no class but 0 and 255"),
    "a class of the validation alone": (save("val/masks/0.png", np.full((30, 40), 9)), "0.png has the class 9"),
    "one named class": (lambda root: (root / "classes.txt").write_text("ant\n"), "names fewer than two classes"),
    "names that are no text": (lambda root: (root / "classes.txt").write_bytes(b"\xff"), "cannot read"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_wrong_masks_are_refused_by_a_line_that_names_them(root, change, words):
    change(root)
    assert words in refusal(root)


@pytest.mark.parametrize("name", ["no folder", "no training", "no validation", "no folder of masks"])
def test_a_missing_folder_is_told_before_a_sweep_too(root, name):
    WRONG[name][0](root)
    with pytest.raises(InputError, match=WRONG[name][1]):
        check_presence(data(root))


def test_a_mask_of_another_size_is_named(root):
    save("train/masks/0.png", np.zeros((40, 30)))(root)
    assert "train/masks/0.png has 30x40 pixels, but its image has 40x30" in refusal(root, read)


def test_a_number_that_is_no_named_class_is_named(root):
    (root / "classes.txt").write_text("ground\nant\n")
    assert "train/masks/1.png has the class 2, but the classes are 0 to 1" in refusal(root, read)
