"""nvImageCodec decodes a part of a JPEG to Pillow's pixels, or leaves the file to Pillow."""

import io
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bad_images import KINDS, encoded, picture
from bigbatch.data.image_files import decode, regions
from bigbatch.data.image_files.decode import cut, describe_decoder, open_image
from bigbatch.data.image_files.regions import decode_region
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from photographs import write_photographs

SIDE = st.integers(1, 70)
SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
PHOTOGRAPH = Image.effect_mandelbrot((200, 200), (-2, -1.5, 1, 1.5), 60).convert("RGB")


def whole_by_pillow(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@st.composite
def jpegs_and_boxes(draw):
    """Return the content of a colour JPEG, and a box in it."""
    width, height = draw(SIDE), draw(SIDE)
    source = draw(st.sampled_from([picture(size=(width, height)), PHOTOGRAPH.crop((60, 60, 60 + width, 60 + height))]))
    options = {
        "quality": draw(st.integers(10, 100)),
        "subsampling": draw(st.sampled_from(SAMPLINGS)),
        "progressive": draw(st.booleans()),
        "restart_marker_blocks": draw(st.integers(0, 5)),
    }
    target = io.BytesIO()
    source.save(target, "JPEG", **options)
    left, upper = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return target.getvalue(), (left, upper, draw(st.integers(left + 1, width)), draw(st.integers(upper + 1, height)))


@settings(max_examples=400, deadline=None)
@given(jpegs_and_boxes())
def test_a_region_is_pillow_s_to_the_bit(jpeg):
    content, (left, upper, right, lower) = jpeg
    expected = whole_by_pillow(content)
    found = decode_region(content, (left, upper, right, lower), expected.shape[1::-1])
    if Image.open(io.BytesIO(content)).info.get("progressive"):
        assert found is None
    else:
        assert np.array_equal(found, expected[upper:lower, left:right])


@pytest.mark.parametrize("subsampling", SAMPLINGS)
@pytest.mark.parametrize("width", [1, 2])
def test_a_narrow_region_is_too(subsampling, width):
    """Without a margin its colours are others: they are spread from fewer neighbours."""
    content = encoded("JPEG", size=(66, 34), subsampling=subsampling)
    expected = whole_by_pillow(content)
    for left in range(66 - width):
        found = decode_region(content, (left, 5, left + width, 20), (66, 34))
        assert np.array_equal(found, expected[5:20, left : left + width])


WHOLE = encoded("JPEG", size=(48, 40))
SCAN = WHOLE.index(b"\xff\xda") + 14
DAMAGES = st.lists(st.tuples(st.integers(2, len(WHOLE) - 3), st.integers(0, 255)), min_size=1, max_size=3)


@settings(max_examples=500, deadline=None)
@given(damages=DAMAGES, is_cut_off=st.booleans())
def test_a_damaged_file_has_pillow_s_pixels_or_pillow_s_words(damages, is_cut_off):
    content = bytearray(WHOLE)
    for place, value in damages:
        content[place] = value
    if is_cut_off:  # and ended as if it were whole
        content = content[: len(content) // 2] + b"\xff\xd9"
    for box in ((10, 3, 40, 30), (0, 0, 48, 40)):
        assert outcome(bytes(content), box) == outcome(bytes(content), box, with_regions=False)


@settings(max_examples=500, deadline=None)
@given(place=st.integers(SCAN, len(WHOLE) - 4), code=st.integers(0, 255), lower=st.integers(4, 40))
def test_a_marker_where_none_belongs_is_pillow_s_to_judge(place, code, lower):
    """Pillow refuses most of these files; a decoder of regions stops before it has seen it."""
    content = WHOLE[:place] + bytes([0xFF, code]) + WHOLE[place + 2 :]
    for box in ((10, 3, 40, lower), (0, 0, 48, 40)):
        assert outcome(content, box) == outcome(content, box, with_regions=False)


def outcome(content: bytes, box, *, with_regions: bool = True):
    """Return the pixels of a box, or what refuses the file."""
    with pytest.MonkeyPatch.context() as patch:
        if not with_regions:
            patch.setattr(decode, "decode_region", lambda *_: None)

        def choose(width, height):
            return *box[:2], min(box[2], width), min(box[3], height)

        try:
            pixels = cut(content, choose, lambda: "it")
        except InputError as error:
            return str(error)
        return pixels.shape, pixels.tobytes()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.listed], ids=lambda kind: kind.name)
def test_each_odd_file_is_decoded_as_by_pillow_or_refused_in_its_words(kind, tmp_path):
    path = kind.write(tmp_path)
    try:
        content = path.read_bytes()
    except OSError:
        return  # the listing's reader refuses it
    assert outcome(content, (0, 0, 10**5, 10**5)) == outcome(content, (0, 0, 10**5, 10**5), with_regions=False)
    if isinstance(kind.result, tuple):
        assert outcome(content, (0, 0, 10**5, 10**5))[1] == np.asarray(open_image(path)).tobytes()


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_are_pillow_s(mode, monkeypatch):
    monkeypatch.setattr(decode, "decode_region", lambda *_: pytest.fail("it is not for these"))
    content = encoded("JPEG", mode)
    assert np.array_equal(cut(content, lambda *_: (3, 4, 20, 20), lambda: "it"), whole_by_pillow(content)[4:20, 3:20])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_orientation_is_ignored_as_by_pillow(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded("JPEG", size=(40, 30), exif=exif)
    assert np.array_equal(decode_region(content, (2, 3, 39, 20), (40, 30)), whole_by_pillow(content)[3:20, 2:39])


def test_a_cut_off_file_is_left_to_pillow():
    content = encoded("JPEG")
    assert decode_region(content[:-20], (0, 0, 9, 9), (40, 30)) is None
    with pytest.raises(InputError, match="truncated"):
        cut(content[:-20], lambda *_: (0, 0, 9, 9), lambda: "it")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_readers_of_a_process_that_has_decoded_decode_too(context):
    content = encoded("JPEG")
    expected = decode_region(content, (1, 2, 30, 20), (40, 30))
    with multiprocessing.get_context(context).Pool(2) as pool:
        for found in pool.starmap(decode_region, [(content, (1, 2, 30, 20), (40, 30))] * 4):
            assert np.array_equal(found, expected)


def test_a_data_set_has_the_same_bits_with_and_without_it(tmp_path, monkeypatch):
    folder = write_photographs(tmp_path / "photographs")
    recipe = Data("image-folder", path=str(folder), image_size=16, augmentation=("random-resized-crop", "flip"))

    def batches():
        data = load_data(recipe)
        read = [part.read_batch(np.arange(len(part)), key=5)[0] for part in (data.train, data.validation)]
        return read, data.engine

    used = []
    monkeypatch.setattr(decode, "decode_region", lambda *given: used.append(given) or decode_region(*given))
    with_it, engine = batches()
    assert used
    monkeypatch.setattr(regions, "_codec", lambda _: None)
    without, other_engine = batches()
    assert all(a.equal(b) for a, b in zip(with_it, without, strict=True))
    assert engine["decoded pixels"] == other_engine["decoded pixels"]
    assert "nvImageCodec" in engine["decoder"]
    assert "nvImageCodec" not in other_engine["decoder"]
    assert describe_decoder(lambda _: picture(), 1)["decoder"] == other_engine["decoder"], "it decodes whole images"


@pytest.mark.parametrize("version", ["0.8.0", "0.9rc1.dev2", "later"])
def test_another_version_is_not_used(version, monkeypatch):
    from nvidia import nvimgcodec

    monkeypatch.setattr(nvimgcodec, "__version__", version)
    regions._codec.cache_clear()
    found = regions.region_decoder()
    regions._codec.cache_clear()
    assert found == ""


def test_it_says_nothing_where_parts_for_gpus_are_missing(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("JPEG"))
    code = (
        "import sys; from bigbatch.data.image_files.regions import decode_region;"
        f"print(decode_region(open({str(path)!r}, 'rb').read(), (0, 0, 9, 9), (40, 30)).shape);"
        "print('mine', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ})
    assert (done.stdout, done.stderr) == ("(9, 9, 3)\n", "mine\n")
