"""Write a small data set: red, green and blue shapes on noise, and masks with the class of each pixel.

python shapes.py [FOLDER [TRAINING_IMAGES [VALIDATION_IMAGES]]]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 48  # pixels
COLOURS = {1: (200, 60, 60), 2: (60, 200, 60), 3: (60, 60, 200)}  # of each class; 0 is the background
NOISE = 60  # of a pixel, at most


def picture(random):
    """Return an image and its mask, with up to four discs and squares; the later ones lie over the others."""
    image, mask = Image.new("RGB", (SIDE, SIDE), (100, 100, 100)), Image.new("L", (SIDE, SIDE))
    for _ in range(random.integers(1, 5)):
        size, kind = int(random.integers(8, 22)), int(random.integers(1, 4))
        x, y = map(int, random.integers(0, SIDE - size, 2))
        shape = ("ellipse", "rectangle")[random.integers(2)]
        for canvas, fill in ((image, COLOURS[kind]), (mask, kind)):
            getattr(ImageDraw.Draw(canvas), shape)((x, y, x + size, y + size), fill=fill)
    noise = random.integers(-NOISE, NOISE, (SIDE, SIDE, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8)), mask


def write(folder, num_images, seed):
    """Write one split: images/NAME.png and masks/NAME.png."""
    random = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in range(num_images):
        for part, found in zip(("images", "masks"), picture(random), strict=True):
            found.save(folder / part / f"{number:04}.png")


if __name__ == "__main__":
    target, train, validation = [*sys.argv[1:], *("data", "240", "60")[len(sys.argv) - 1 :]]
    write(Path(target) / "train", int(train), seed=0)
    write(Path(target) / "val", int(validation), seed=1)
