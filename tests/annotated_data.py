"""Tiny data sets of annotated images: each object is a white box on black, so that the pixels say where it is."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]  # x, y, width, height
Table = dict[str, Any]

# Of each image its size and its objects: one has none, one has two. Sizes differ.
IMAGES: tuple[tuple[tuple[int, int], tuple[Box, ...]], ...] = (
    ((40, 30), ((4, 6, 12, 10),)),
    ((24, 36), ((0, 0, 8, 12), (12, 20, 12, 16))),
    ((32, 32), ()),
    ((50, 20), ((30, 4, 16, 12),)),
)
CATEGORIES = ({"id": 3, "name": "cell"}, {"id": 7, "name": "ant"})


def no_change(_: Table) -> None:
    """Leave a table as it is."""


def picture(size: tuple[int, int], boxes: tuple[Box, ...]) -> Image.Image:
    """Return a black image with white boxes."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x, y, width, height in boxes:
        pixels[y : y + height, x : x + width] = 255
    return Image.fromarray(pixels)


def coco_table(count: int = len(IMAGES)) -> Table:
    """Return the instances of COCO of some images; in the second image, the second object is a crowd."""
    images, annotations = [], []
    for i, (size, boxes) in enumerate(IMAGES[:count]):
        images.append({"id": 10 + i, "file_name": f"{i}.png", "width": size[0], "height": size[1]})
        for j, (x, y, w, h) in enumerate(boxes):
            outline: object = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            if j:
                mask = np.zeros((size[1], size[0]), int)
                mask[y : y + h, x : x + w] = 1
                outline = {"size": [size[1], size[0]], "counts": run_lengths(mask)}
            number = {"id": 100 + len(annotations), "image_id": 10 + i, "category_id": 7 if i else 3}
            shape = {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(j > 0), "segmentation": outline}
            annotations.append(number | shape)
    return {"images": images, "annotations": annotations, "categories": [dict(category) for category in CATEGORIES]}


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return the lengths of runs of 0, 1, 0, ... down the columns."""
    column = mask.T.reshape(-1)
    places = np.flatnonzero(np.diff(np.concatenate([[0], column, [1 - column[-1]]])))
    return np.diff(np.concatenate([[0], places])).tolist()


def write_coco(root: Path, change: Callable[[Table], object] = no_change, *, flat: bool = False) -> Path:
    """Write a data set in COCO's layout, or in that of flat exports; `change` edits the training split's table."""
    for split, name in (("train", "train"), ("val", "valid" if flat else "val")):
        folder = root / (name if flat else f"{name}2017")
        folder.mkdir(parents=True)
        for i, one in enumerate(IMAGES):
            picture(*one).save(folder / f"{i}.png")
        file = folder / "_annotations.coco.json" if flat else root / "annotations" / f"instances_{name}2017.json"
        file.parent.mkdir(exist_ok=True)
        table = coco_table()
        if split == "train":
            change(table)
        file.write_text(json.dumps(table))
    return root


def voc_xml(size: tuple[int, int], boxes: tuple[Box, ...]) -> str:
    """Return an image's annotation; the second object is difficult."""
    objects = "".join(
        f"<object><name>{'ant' if i else 'cell'}</name><difficult>{i}</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for i, (x, y, w, h) in enumerate(boxes)
    )
    return (
        f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
        f"{objects}</annotation>"
    )


def write_voc(root: Path) -> Path:
    """Write a data set in Pascal VOC's layout: four images for the training, two of them for the validation."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for i, one in enumerate(IMAGES):
        picture(*one).save(root / "JPEGImages" / f"{i}.png")
        (root / "Annotations" / f"{i}.xml").write_text(voc_xml(*one))
    (root / "ImageSets" / "Main" / "train.txt").write_text("0\n1\n2\n3\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("0\n1\n")
    return root


def mask(size: tuple[int, int], boxes: tuple[Box, ...]) -> Image.Image:
    """Return a mask: the first box is of class 1, the second of class 2, its last column void."""
    numbers = np.zeros((size[1], size[0]), np.uint8)
    for label, (x, y, width, height) in enumerate(boxes, 1):
        numbers[y : y + height, x : x + width] = label
        numbers[y : y + height, x + width - 1] = 255
    return Image.fromarray(numbers)


def write_masks(root: Path) -> Path:
    """Write a folder of images and masks."""
    for split in ("train", "val"):
        for part in ("images", "masks"):
            (root / split / part).mkdir(parents=True)
        for i, one in enumerate(IMAGES):
            picture(*one).save(root / split / "images" / f"{i}.png")
            mask(*one).save(root / split / "masks" / f"{i}.png")
    return root


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 0.5, 1, 2, 3, 7, 10, 30, 40, 1e-9, 1e300, float("nan"), float("inf"), 2**31, 2**63, 10**400),
    *("", "0", "a", "0.png", "\0", "\ud800", "4", "oo", [], {}, [[]], [1], [1, 2, 3, 4], [[1, 2, 3, 4, 5, 6]]),
    *([[0, 0, 1e7, 0, 0, 1e7]], {"size": [30, 40], "counts": "4"}, {"size": [30, 40], "counts": [1200]}),
)


def mutated_tables(count: int, seed: int, *, outlines: bool = False) -> Iterator[Table]:
    """Yield tables in each of which one or two places hold something else, in all or in the outlines alone."""
    random_numbers = random.Random(seed)
    for _ in range(count):
        table = coco_table()
        for _ in range(random_numbers.randint(1, 2)):
            holder: Any = [one["segmentation"] for one in table["annotations"]] if outlines else table
            while True:
                keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
                if not keys:
                    break
                key = random_numbers.choice(keys)
                if not isinstance(holder[key], dict | list) or random_numbers.random() < 0.15:
                    holder[key] = copy.deepcopy(random_numbers.choice(ODD_VALUES))
                    break
                holder = holder[key]
        yield table
