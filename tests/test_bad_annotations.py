"""Annotations that are wrong: each is refused by one line that names the file, before an image is decoded."""

import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from annotated_data import coco_table, mutated_tables, write_coco, write_voc
from bigbatch.cli import main
from bigbatch.data.annotated_images import AnnotatedImages
from bigbatch.data.annotated_splits import list_train
from bigbatch.data.load import count_train_samples, load_data
from bigbatch.data.presence import check_presence
from bigbatch.errors import InputError
from bigbatch.printable import printable
from bigbatch.recipe import Data

NAN = float("nan")
TRAIN = "instances_train2017.json"


def set_in(list_name, index, **values):
    """Return a change of one entry; a value of ... removes the key."""

    def change(table):
        entry = table[list_name][index]
        entry |= {key: value for key, value in values.items() if value is not ...}
        for key in [key for key, value in values.items() if value is ...]:
            del entry[key]

    return change


def put(name, value):
    return lambda table: table.update({name: value})


def copied(name):
    """Return a change that lists an entry twice."""
    return lambda table: table[name].append(dict(table[name][0]))


def without_images(table):
    table["images"], table["annotations"] = [], []


WRONG_TABLES = {
    "no list of images": (put("images", ...), "no list 'images'"),
    "images that are no list": (put("images", {}), "no list 'images'"),
    "no categories": (put("categories", ...), "no list 'categories'"),
    "no category at all": (put("categories", []), "no category"),
    "an entry that is no table": (put("annotations", [7]), "annotations[0] is no table"),
    "an image twice": (copied("images"), "images[4] has the id 10 of an entry before it"),
    "an annotation twice": (copied("annotations"), "annotations[4] has the id 100"),
    "a category twice": (copied("categories"), "categories[2] has the id 3"),
    "an image that is not there": (set_in("images", 1, file_name="gone.jpg"), "lacks 1 of the images"),
    "a folder in an image's place": (set_in("images", 1, file_name="."), "lacks 1 of the images"),
    "an image without a name": (set_in("images", 1, file_name=...), "images[1]: file_name must be a name, not None"),
    "an image without a size": (set_in("images", 1, width=...), "images[1]: width must be a whole number"),
    "an image of no size": (set_in("images", 1, height=0), "images[1]: an image of 24x0 pixels"),
    "an image of any size": (set_in("images", 2, width=2**31), "images[2]: an image of 2147483648x32 pixels"),
    "an id that is text": (set_in("images", 0, id="10"), "images[0]: id must be a whole number, not 10"),
    "an id beyond 64 bits": (set_in("images", 0, id=2**63), "images[0]: id must be a whole number"),
    "an annotation of no image": (set_in("annotations", 2, image_id=99), "annotations[2] is of image 99"),
    "an unknown category": (set_in("annotations", 2, category_id=5), "annotations[2] has the unknown category 5"),
    "no box": (set_in("annotations", 0, bbox=...), "annotations[0]: bbox must be [x, y, width, height]"),
    "a box of three numbers": (set_in("annotations", 0, bbox=[1, 2, 3]), "bbox must be"),
    "a box of text": (set_in("annotations", 0, bbox=["1", 2, 3, 4]), "bbox must be"),
    "a box that is not finite": (set_in("annotations", 0, bbox=[NAN, 2, 3, 4]), "the box x=nan"),
    "a box of negative size": (set_in("annotations", 0, bbox=[9, 2, -3, 4]), "width=-3"),
    "a box beside its image": (set_in("annotations", 0, bbox=[60, 2, 3, 4]), "outside its image of 40x30"),
    "corners in place of a size": (set_in("annotations", 0, bbox=[30, 20, 38, 28]), "outside its image of 40x30"),
    "a box above its image": (set_in("annotations", 0, bbox=[3, -2, 3, 4]), "outside its image"),
    "a box beyond all numbers": (set_in("annotations", 0, bbox=[3, 10**400, 3, 4]), "y=inf"),
    "an area beyond all numbers": (set_in("annotations", 0, area=10**400), "area must be"),
    "an area that is not finite": (set_in("annotations", 0, area=NAN), "area must be a number of pixels"),
    "a negative area": (set_in("annotations", 0, area=-1), "area must be"),
    "a crowd of two": (set_in("annotations", 0, iscrowd=2), "iscrowd must be 0 or 1"),
    "a crowd that is a list": (set_in("annotations", 0, iscrowd=[]), "iscrowd must be 0 or 1"),
    "no image": (without_images, "lists no image"),
    "another category": (set_in("categories", 0, name="leaf"), "differ in their categories: cell (3), leaf (3)"),
    "one category more": (lambda table: table["categories"].append({"id": 9, "name": "leaf"}), "leaf (9)"),
}


def refusal(data):
    with pytest.raises(InputError) as error:
        load_data(data)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("change", "words"), WRONG_TABLES.values(), ids=WRONG_TABLES)
def test_wrong_instances_are_refused_by_a_line_that_names_them(tmp_path, change, words):
    def edit(table):
        change(table)
        for key in [key for key, value in table.items() if value is ...]:
            del table[key]

    line = refusal(Data("coco", str(write_coco(tmp_path, edit))))
    assert words in line
    assert "train2017" in line


WRONG_OUTLINES = {
    "none": (..., "has no segmentation"),
    "an empty list": ([], "has no segmentation"),
    "a polygon of two corners": ([[1, 2, 3, 4]], "at least 3 corners"),
    "a polygon of an odd count": ([[1, 2, 3, 4, 5, 6, 7]], "a polygon is a list of x, y"),
    "a polygon that is a number": ([7], "a polygon is"),
    "a polygon of text": ([["1"] * 6], "a polygon is a list of numbers"),
    "a polygon outside": ([[1, 2, 3, 4, 5_000_000_000, 6]], "a polygon lies outside its image of 40x30"),
    "a polygon that is not finite": ([[1, 2, 3, 4, NAN, 6]], "a polygon lies outside"),
    "a mask of another size": ({"size": [40, 30], "counts": [1200]}, "its mask has the size [40, 30]"),
    "a mask without a size": ({"counts": [1200]}, "its mask has the size None"),
    "a mask of too few pixels": ({"size": [30, 40], "counts": [100, 7]}, "hold 107 pixels, but the image has 1200"),
    "a mask of too many pixels": ({"size": [30, 40], "counts": [1200, 7]}, "hold 1207 pixels"),
    "a mask with a negative run": ({"size": [30, 40], "counts": [1300, -100]}, "are not the lengths of runs"),
    "a mask without counts": ({"size": [30, 40]}, "are not the lengths of runs"),
    "a mask of numbers with a point": ({"size": [30, 40], "counts": [1200.0]}, "are not the lengths of runs"),
    "a compressed mask that is cut": ({"size": [30, 40], "counts": "o"}, "compressed counts of its mask are damaged"),
    "a compressed mask of other letters": ({"size": [30, 40], "counts": "ü"}, "are damaged"),
    "a compressed mask without an end": ({"size": [30, 40], "counts": "o" * 40}, "are damaged"),
    "a compressed mask of another image": ({"size": [30, 40], "counts": "4"}, "hold 4 pixels"),
}


@pytest.mark.parametrize(("outline", "words"), WRONG_OUTLINES.values(), ids=WRONG_OUTLINES)
def test_wrong_outlines_are_refused_where_masks_are_wanted_and_nowhere_else(tmp_path, outline, words):
    root = str(write_coco(tmp_path, set_in("annotations", 0, segmentation=outline)))
    for labels in ("masks", "pixels"):
        line = refusal(Data("coco", root, labels=labels))
        assert words in line
        assert f"{TRAIN}: annotations[0]" in line
    assert len(load_data(Data("coco", root)).train) == 4


@pytest.mark.parametrize("labels", ["masks", "pixels"])
def test_masks_without_the_library_that_draws_them_are_refused(tmp_path, monkeypatch, labels):
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core", None)
    assert "pip install 'bigbatch[detection]'" in refusal(Data("coco", str(write_coco(tmp_path)), labels=labels))


WRONG_JSON = {
    "nothing": b"",
    "a file that is cut": json.dumps(coco_table()).encode()[:200],
    "no text": bytes(range(256)),
    "a list": b"[]",
    "a deep nesting": b"[" * 200_000,
    "a number of 5,000 digits": b"[" + b"9" * 5_000 + b"]",
}


@pytest.mark.parametrize("content", WRONG_JSON.values(), ids=WRONG_JSON)
def test_a_file_that_holds_no_instances_is_named(tmp_path, content):
    root = write_coco(tmp_path)
    (root / "annotations" / TRAIN).write_bytes(content)
    line = refusal(Data("coco", str(root)))
    assert TRAIN in line
    assert "is no JSON" in line or "holds no table" in line


def remove(*names):
    def change(root):
        for name in names:
            path = root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def add_another_year(root):
    shutil.copy(root / "annotations" / TRAIN, root / "annotations" / "instances_train2014.json")


MISSING_IN_COCO = {
    "everything": (shutil.rmtree, "there is no data folder"),
    "the training's annotations": (remove(f"annotations/{TRAIN}"), "no annotations for train"),
    "the validation's annotations": (remove("annotations/instances_val2017.json"), "no annotations for val"),
    "the training's images": (remove("train2017"), "no folder"),
    "the validation's images": (remove("val2017"), "no folder"),
    "nothing, there are two": (add_another_year, "leave one of them there"),
}


@pytest.mark.parametrize(("change", "words"), MISSING_IN_COCO.values(), ids=MISSING_IN_COCO)
def test_what_is_missing_is_told_before_a_sweep_too(tmp_path, change, words):
    root = write_coco(tmp_path / "coco")
    change(root)
    data = Data("coco", str(root))
    assert words in refusal(data)
    with pytest.raises(InputError, match=words):
        check_presence(data)


OBJECT = (
    "<object><name>ant</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)
SIZE = "<size><width>40</width><height>30</height></size>"


def of(*corners, size=SIZE):
    return f"<annotation>{size}{OBJECT.format(*corners)}</annotation>"


WRONG_XML = {
    "nothing": ("", "is no XML"),
    "a file that is cut": (of(1, 2, 3, 4)[:-20], "is no XML"),
    "an encoding that nobody knows": ("<?xml version='1.0' encoding='x-none'?><annotation/>", "is no XML"),
    "a bomb of entities": (
        "<!DOCTYPE a [<!ENTITY a0 'aaaaaaaaaa'>"
        + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 10))
        + "]><annotation>&a9;</annotation>",
        "is no XML",
    ),
    "no size": (of(1, 2, 3, 4, size=""), "size/width must be the image's size in pixels, not ''"),
    "a size of 0": (of(1, 2, 3, 4, size="<size><width>0</width><height>30</height></size>"), "an image of 0x30 pixels"),
    "a size in words": (of(1, 2, 3, 4, size="<size><width>40</width><height>x</height></size>"), "size/height"),
    "an object without a name": (of(1, 2, 3, 4).replace("ant<", "<"), "object 1 has no name"),
    "an object without a box": (f"<annotation>{SIZE}<object><name>a</name></object></annotation>", "bndbox/xmin"),
    "a corner in words": (of("left", 2, 3, 4), "bndbox/xmin must be a number of pixels, not 'left'"),
    "a corner that is not finite": (of("nan", 2, 3, 4), "object 1: the box x=nan"),
    "corners in the wrong order": (of(9, 2, 3, 4), "object 1: the box x=8 y=1 width=-6"),
    "a box beside its image": (of(50, 2, 60, 4), "outside its image of 40x30"),
    "a box that reaches out": (of(30, 2, 60, 4), "outside its image of 40x30"),
}


@pytest.mark.parametrize(("xml", "words"), WRONG_XML.values(), ids=WRONG_XML)
def test_a_wrong_xml_file_is_refused_by_a_line_that_names_it(tmp_path, xml, words):
    root = write_voc(tmp_path)
    (root / "Annotations" / "0.xml").write_text(xml)
    line = refusal(Data("voc", str(root)))
    assert words in line
    assert str(root / "Annotations" / "0.xml") in line


def write_in(name, text):
    return lambda root: (root / name).write_text(text)


LISTS = "ImageSets/Main"
MISSING_IN_VOC = {
    "everything": (shutil.rmtree, "there is no data folder"),
    "the list of the training": (remove(f"{LISTS}/train.txt"), "has no ImageSets/Main/train.txt"),
    "the list of the validation": (remove(f"{LISTS}/val.txt"), "has no ImageSets/Main/val.txt"),
    "an annotation": (remove("Annotations/1.xml"), "1.xml, but"),
    "an image": (remove("JPEGImages/1.png"), "1.jpg, but"),
    "every name": (write_in(f"{LISTS}/train.txt", "\n \n"), "lists no image"),
    "a second name": (write_in(f"{LISTS}/train.txt", "0\n1\n0\n"), "lists 0 twice"),
    "a category": (write_in(f"{LISTS}/val.txt", "0\n"), "differ in their categories: ant"),
    "a text": (lambda root: (root / LISTS / "train.txt").write_bytes(b"\xff\xfe\xff"), "cannot read"),
}


@pytest.mark.parametrize(("change", "words"), MISSING_IN_VOC.values(), ids=MISSING_IN_VOC)
def test_what_is_missing_of_voc_is_told(tmp_path, change, words):
    root = write_voc(tmp_path / "voc")
    change(root)
    assert words in refusal(Data("voc", str(root)))


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_an_image_that_is_not_what_was_annotated_is_named_when_it_is_read(tmp_path, name):
    root = write_coco(tmp_path) if name == "coco" else write_voc(tmp_path)
    path = next(iter(root.rglob("2.png")))
    Image.new("RGB", (30, 32)).save(path)
    splits = load_data(Data(name, str(root)))
    with pytest.raises(InputError, match=r"2\.png has 30x32 pixels, but its annotations are of 32x32"):
        splits.train.read_batch(np.arange(len(splits.train)), key=0)


@pytest.mark.parametrize("width", [0, 0.05])
def test_a_box_without_area_is_not_trained_on_but_said_and_stays_in_the_ground_truth(tmp_path, width):
    """COCO's training split and BCCD have such a slip, and they train."""
    root = write_coco(tmp_path, set_in("annotations", 0, bbox=[4, 6, width, 10]))
    shutil.copy(root / "annotations" / TRAIN, root / "annotations" / "instances_val2017.json")
    splits = load_data(Data("coco", str(root)))
    assert splits.train.read_batch(np.array([0]), 0)[1][0]["boxes"].shape == (0, 4)
    assert len(splits.validation.read_batch(np.array([0]), 0)[1][0]["annotations"]) == 1
    assert [note.rpartition(": ")[2] for note in splits.notes] == [
        "one box without area left out of the training, such as in 0.png"
    ]


def test_a_box_may_reach_out_by_a_rounded_pixel_and_is_cut_there(tmp_path):
    root = write_coco(tmp_path, set_in("annotations", 0, bbox=[-0.5, 6, 41, 10]))
    target = load_data(Data("coco", str(root))).train.read_batch(np.array([0]), 0)[1][0]
    assert target["boxes"].tolist() == [[0, 6, 40, 16]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": "outline"}, "data.labels 'outline' is unknown"),
        ({"name": "voc", "labels": "masks"}, "'masks' is for coco, not for voc"),
        ({"name": "voc", "labels": "pixels"}, "'pixels' is for coco and mask-folder, not for voc"),
        ({"name": "mask-folder", "labels": "masks"}, "'masks' is for coco, not for mask-folder"),
        ({"name": "image-folder", "labels": "masks"}, "is for coco, not for image-folder"),
        ({"name": "digits", "short_sides": (8,)}, "data.short_sides is for the boxes and masks of coco and voc"),
        ({"labels": "pixels", "short_sides": (8,)}, "data.short_sides is for"),
        ({"short_sides": (8, 0)}, "data.short_sides[1] must be a number above 0, not 0"),
        ({"short_sides": (9_000,)}, "data.short_sides[0] must be at most 8192"),
        ({"long_side": 0}, "data.long_side must be"),
        ({"augmentation": ("random-resized-crop",)}, "'random-resized-crop' would lose objects"),
        ({"name": "voc", "augmentation": ("flip", "crop")}, "'crop' would lose objects"),
        ({"labels": "pixels", "augmentation": ("crop",)}, "'crop' is for small images"),
        ({"name": "mask-folder", "augmentation": ("crop",)}, "'crop' is for small images"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(fields, words):
    with pytest.raises(InputError) as error:
        Data(**({"name": "coco"} | fields))
    assert words in str(error.value)


def test_mutated_instances_are_read_or_refused_by_one_line(tmp_path):
    root = write_coco(tmp_path)
    lines = []
    for table in mutated_tables(600, seed=1):
        (root / "annotations" / TRAIN).write_text(json.dumps(table))
        lines += [line_of(Data("coco", str(root), labels=labels)) for labels in ("boxes", "masks")]
    assert 40 < lines.count("") < len(lines) / 2
    assert all("\n" not in line and len(line) < 500 for line in lines)


def line_of(data):
    """Return the line that refuses a training split; nothing if all of it can be read with its boxes."""
    try:
        split = list_train(data)
        reading = AnnotatedImages(split, Data("coco", data.path), is_training=False)
        reading.read_batch(np.arange(len(split.images)), key=1)
    except InputError as error:
        return printable(str(error))
    return ""


@pytest.mark.parametrize("name", ["coco", "voc"])
def test_the_command_says_it_in_one_line(tmp_path, name, capsys):
    root = write_coco(tmp_path / "d\x1b[2J") if name == "coco" else write_voc(tmp_path / "d\x1b[2J")
    for path in [*root.rglob(TRAIN), *root.rglob("0.xml")]:
        path.write_text("x")
    with pytest.raises(InputError):
        count_train_samples(Data(name, str(root)))
    code = main(["plan", "digits", "--set", f"data.name={name}", "--set", f"data.path={root}"])
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith("bigbatch: error: ")
    assert error[:-1].isprintable()
