"""A folder of photographs, and `bench input` on it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bigbatch.cli import main


def measured(capsys: Any, *words: str) -> dict[str, Any]:
    """Return what `bench input` measures."""
    assert main(["bench", "input", *words, "--rounds", "2", "--samples", "10", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def write_photographs(root: Path) -> Path:
    """Write two splits of two classes."""
    for split in ("train", "val"):
        for name in ("ant", "bee"):
            (root / split / name).mkdir(parents=True)
            for i in range(8):
                pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.jpg")
    return root


def recipe_of(folder: Path) -> tuple[str, ...]:
    """Return the words that name it."""
    return ("imagenette", "--set", f"data.path={folder}", "--set", "data.image_size=16")
