"""Images are resized as Pillow does it, to within a level, with the same bits on every CPU with AVX2."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bigbatch.data.resizing import bilinear

SIDE = st.integers(1, 40)
KINDS_OF_CPU = ("avx2", *(["avx512"] if torch.cpu._is_avx512_supported() else []))  # as torch calls them


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def digest() -> str:
    """Return a hash of many resizes."""
    found = hashlib.sha256()
    for seed in range(200):
        width, height, new_width, new_height = np.random.default_rng(seed).integers(1, 300, 4).tolist()
        found.update(bilinear(noise(width, height, seed), new_width, new_height).tobytes())
    return found.hexdigest()


@given(width=SIDE, height=SIDE, new_width=SIDE, new_height=SIDE, seed=st.integers(0, 99))
def test_bilinear_is_pillow_s_to_within_a_level(width, height, new_width, new_height, seed):
    pixels = noise(width, height, seed)
    expected = Image.fromarray(pixels).resize((new_width, new_height), Image.Resampling.BILINEAR)
    found = bilinear(pixels, new_width, new_height)
    assert found.dtype == np.uint8
    assert found.shape == (new_height, new_width, 3)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


@given(width=SIDE, height=SIDE)
def test_the_same_size_is_the_same_image(width, height):
    assert np.array_equal(bilinear(noise(width, height), width, height), noise(width, height))


@given(left=SIDE, upper=SIDE, width=SIDE, height=SIDE)
def test_a_part_that_lies_anywhere_has_the_bits_of_a_copy(left, upper, width, height):
    part = noise(90, 90)[upper : upper + height, left : left + width]
    assert np.array_equal(bilinear(part, 17, 23), bilinear(np.ascontiguousarray(part), 17, 23))
    part.flags.writeable = False  # as Pillow's arrays are
    assert np.array_equal(bilinear(part, 17, 23), bilinear(part.copy(), 17, 23))


@pytest.mark.parametrize("kind", KINDS_OF_CPU)
def test_the_bits_do_not_depend_on_the_kind_of_cpu(kind):
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": kind, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", "from test_resizing import digest; print(digest())"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == digest()
