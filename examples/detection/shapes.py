"""Write a small data set in COCO's layout: bright discs and squares on noise, with their boxes and outlines.

python shapes.py [FOLDER [TRAINING_IMAGES [VALIDATION_IMAGES]]]
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CATEGORIES = ({"id": 1, "name": "disc"}, {"id": 2, "name": "square"})
COLOURS = ((230, 120, 60), (60, 140, 230))
NOISE = 40  # of a pixel, at most


def picture(random):
    """Return an image, and the (category, box) of up to four shapes that do not overlap; perhaps of none."""
    width, height = (int(random.choice([80, 96, 112])) for _ in range(2))
    image, found = Image.new("RGB", (width, height), (90, 90, 90)), []
    for _ in range(random.integers(0, 5)):
        size, kind = int(random.integers(18, 36)), int(random.integers(2))
        x, y = int(random.integers(0, width - size)), int(random.integers(0, height - size))
        if all(abs(x - a) >= max(size, b) or abs(y - c) >= max(size, b) for _, (a, c, b) in found):
            draw = ImageDraw.Draw(image)
            (draw.ellipse, draw.rectangle)[kind]((x, y, x + size - 1, y + size - 1), fill=COLOURS[kind])
            found.append((kind, (x, y, size)))
    noise = random.integers(-NOISE, NOISE, (height, width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)), found


def outline(kind, x, y, size):
    """Return the corners of a shape as COCO has them: x, y, x, y, ..."""
    angles = np.arange(24) * (2 * np.pi / 24) if kind == 0 else np.array([1, 3, 5, 7]) * np.pi / 4
    radius = size / 2 if kind == 0 else size / 2**0.5
    corners = np.stack([x + size / 2 + radius * np.cos(angles), y + size / 2 + radius * np.sin(angles)], 1)
    return corners.round(2).flatten().tolist()


def write(folder, split, num_images, seed):
    """Write a split's images, and the file of its annotations."""
    random = np.random.default_rng(seed)
    (folder / split).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(1, num_images + 1):
        image, found = picture(random)
        image.save(folder / split / f"{number:04}.png")
        images.append({"id": number, "file_name": f"{number:04}.png", "width": image.width, "height": image.height})
        for kind, (x, y, size) in found:
            shape = {"bbox": [x, y, size, size], "area": size**2, "segmentation": [outline(kind, x, y, size)]}
            identity = {"id": len(annotations) + 1, "image_id": number, "category_id": kind + 1, "iscrowd": 0}
            annotations.append(identity | shape)
    table = {"images": images, "annotations": annotations, "categories": CATEGORIES}
    (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(table))


if __name__ == "__main__":
    target, train, validation = [*sys.argv[1:], *("data", "240", "60")[len(sys.argv) - 1 :]]
    write(Path(target), "train2017", int(train), seed=0)
    write(Path(target), "val2017", int(validation), seed=1)
