"""Masks and classes of pixels from COCO's outlines, as pycocotools draws them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as pycocotools

from annotated_data import IMAGES, coco_table, mutated_tables, write_coco
from bigbatch.data.annotated_splits import list_train
from bigbatch.data.coco_pixels import classes_of
from bigbatch.data.load import load_data
from bigbatch.data.masks import decode_masks, run_length_code
from bigbatch.data.segmentation import unpack_counts
from bigbatch.errors import InputError
from bigbatch.recipe import Data

ALL = np.arange(len(IMAGES))
# pycocotools decodes with an array of numpy's older protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def code_of(outline, height, width):
    """Return the run-length code as pycocotools's own COCO class makes it (annToRLE)."""
    if isinstance(outline, list):
        return pycocotools.merge(pycocotools.frPyObjects(outline, height, width))
    return pycocotools.frPyObjects(outline, height, width) if isinstance(outline["counts"], list) else outline


def polygons(rng, width, height, parts):
    corners = rng.uniform(0, 1, (parts, 7, 2)) * [width, height]
    return [np.round(part, 2).reshape(-1).tolist() for part in corners]


@pytest.fixture
def random_coco(tmp_path):
    """Return data whose first image has objects of any outline: polygons, their codes, packed codes."""
    rng = np.random.default_rng(1)
    outlines = []
    for i in range(12):
        shape = polygons(rng, 40, 30, 1 + i % 3)
        code = code_of(shape, 30, 40)
        text = {"size": [30, 40], "counts": code["counts"].decode()}
        runs = {"size": [30, 40], "counts": unpack_counts(text["counts"], "")}
        outlines.append([shape, text, runs][i % 3])

    def change(table):
        table["annotations"] = [
            {"id": i, "image_id": 10, "category_id": (3, 7)[i % 2], "bbox": [1, 1, 9, 9], "iscrowd": int(i == 5)}
            | {"segmentation": outline, "area": 5}
            for i, outline in enumerate(outlines)
        ]

    root = write_coco(tmp_path, change)
    train, validation = (root / "annotations" / f"instances_{name}2017.json" for name in ("train", "val"))
    validation.write_text(train.read_text())
    return root, outlines


def test_packed_codes_are_unpacked_as_pycocotools_packs_them():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 4, 5, 40, 1000):
        runs = rng.integers(1, 10 ** rng.integers(1, 7), size).tolist()
        packed = pycocotools.frPyObjects({"size": [1, sum(runs)], "counts": runs}, 1, sum(runs))
        assert unpack_counts(packed["counts"].decode(), "") == runs


def test_masks_and_the_ground_truth_are_pycocotools_s_bit_for_bit(random_coco):
    root, outlines = random_coco
    data = Data("coco", str(root), labels="masks", augmentation=("flip",))
    splits = load_data(data)
    codes = [code_of(outline, 30, 40) for outline in outlines]
    target = splits.validation.read_batch(ALL[:1], key=0)[1][0]
    found = [one["segmentation"] for one in target["annotations"]]
    assert found == [{"size": [30, 40], "counts": _text(code["counts"])} for code in codes]
    expected = pycocotools.decode([code for i, code in enumerate(codes) if i != 5]).transpose(2, 0, 1)
    assert target["masks"].dtype == torch.uint8
    assert np.array_equal(target["masks"], expected)
    seen = {splits.train.read_batch(ALL[:1], key)[1][0]["masks"].numpy().tobytes() for key in range(8)}
    assert seen == {expected.tobytes(), expected[:, :, ::-1].tobytes()}


def _text(counts):
    return counts.decode() if isinstance(counts, bytes) else counts


@pytest.mark.parametrize("sides", [(), (17,), (90,)])
def test_masks_move_with_their_images_and_boxes(tmp_path, sides):
    root = str(write_coco(tmp_path))
    splits = load_data(Data("coco", root, labels="masks", short_sides=sides, augmentation=("flip",)))
    for key in range(6):
        images, targets = splits.train.read_batch(ALL, key)
        for image, target in zip(images, targets, strict=True):
            assert target["masks"].shape == (len(target["boxes"]), *image.shape[1:])
            for mask, box in zip(target["masks"], target["boxes"], strict=True):
                rows, columns = mask.nonzero(as_tuple=True)
                around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
                assert torch.allclose(torch.tensor(around).float(), box, atol=1)
                assert image[0][mask.bool()].mean() > 0.8  # objects are white, but for their edge


def test_pixels_have_the_class_of_their_object(tmp_path):
    """A crowd is void, and so is where two categories overlap."""

    def overlap(table):
        x, y, w, h = 10, 8, 14, 10
        outline = [[x, y, x + w, y, x + w, y + h, x, y + h]]
        extra = {"id": 500, "image_id": 10, "category_id": 7, "bbox": [x, y, w, h], "segmentation": outline}
        table["annotations"] += [extra, extra | {"id": 501}]

    root = write_coco(tmp_path, overlap)
    splits = load_data(Data("coco", str(root), labels="pixels", image_size=64))
    found = [classes_of(image) for image in splits.train.source.split.images]
    assert [np.unique(one).tolist() for one in found] == [[-100, 0, 1, 2], [-100, 0, 2], [0], [0, 2]]
    assert (found[0] == -100).sum() == 6 * 8  # of the overlap
    assert found[0][6:8, 4:16].tolist() == [[1] * 12] * 2
    assert (found[1] == -100).sum() == 12 * 16  # the crowd
    images, classes = splits.train.read_batch(ALL, key=0)
    assert images.shape == (4, 3, 64, 64)
    assert classes.shape == (4, 64, 64)
    assert splits.num_classes == 3


def test_a_table_of_pycocotools_own_reads_alike(tmp_path):
    """The ground truth that pycocotools makes of the same file has the same boxes, areas, crowds and masks."""
    from pycocotools.coco import COCO

    root = write_coco(tmp_path)
    truth = COCO(str(root / "annotations" / "instances_val2017.json"))
    targets = load_data(Data("coco", str(root), labels="masks")).validation.read_batch(ALL, key=0)[1]
    for target in targets:
        expected = truth.loadAnns(truth.getAnnIds(imgIds=[target["image_id"]]))
        for mine, its in zip(target["annotations"], expected, strict=True):
            assert (mine["bbox"], mine["area"], mine["iscrowd"]) == (its["bbox"], its["area"], its["iscrowd"])
            assert mine["segmentation"]["counts"] == truth.annToRLE(its)["counts"].decode()


def test_masks_of_mutated_outlines_are_drawn_or_refused_by_one_line(tmp_path):
    """COCO's tools read and write past the end for some of them."""
    root = write_coco(tmp_path)
    file, data = root / "annotations" / "instances_train2017.json", Data("coco", str(root), labels="masks")
    read = 0
    for table in mutated_tables(500, seed=2, outlines=True):
        file.write_text(json.dumps(table))
        try:
            split = list_train(data)
        except InputError:
            continue
        for image in split.images:
            masks = decode_masks(image.annotations, image)
            assert masks.shape == (len(image.annotations), image.height, image.width)
            codes = [run_length_code(one, image) for one in image.annotations]
            assert all(code["size"] == [image.height, image.width] for code in codes)
            read += len(codes)
    assert read > 400


def test_the_tiny_data_is_what_its_pixels_say(tmp_path):
    root = write_coco(tmp_path)
    table = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    assert table == json.loads(json.dumps(coco_table()))
    pixels = np.asarray(Image.open(root / "train2017" / "0.png").convert("L"))
    assert (pixels > 0).sum() == table["annotations"][0]["area"]
