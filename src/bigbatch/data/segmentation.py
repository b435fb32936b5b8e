"""An object's outline as COCO writes it: polygons, or a run-length code of its pixels. Checked without torch."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Final

from bigbatch.data.annotations import OUTSIDE, Segmentation
from bigbatch.errors import InputError

CORNER_NUMBERS: Final = 6  # of a polygon, at least: COCO's tools take four numbers for a box


def read_segmentation(value: object, width: int, height: int, place: str) -> Segmentation:
    """Return an outline that masks can be made of.

    Args:
        value: `segmentation` of an annotation.
        width: of the image.
        height: of the image.
        place: names the annotation in errors.

    Raises:
        InputError: there is none, it is no outline, or it is of an image of another size.
    """
    if isinstance(value, Mapping):
        return _run_length_code(value, width, height, place)
    if isinstance(value, list) and value:
        return tuple(_polygon(corners, width, height, place) for corners in value)
    msg = f"{place} has no segmentation; outline the object, or set data.labels=boxes"
    raise InputError(msg)


def _polygon(corners: object, width: int, height: int, place: str) -> "array[float]":
    if not (isinstance(corners, Sequence) and len(corners) >= CORNER_NUMBERS and len(corners) % 2 == 0):
        msg = f"{place}: a polygon is a list of x, y, x, y, ... of at least 3 corners, not {str(corners)[:80]}"
        raise InputError(msg)
    try:
        found = array("d", corners)
    except (TypeError, OverflowError) as error:
        msg = f"{place}: a polygon is a list of numbers, not {str(corners)[:80]}"
        raise InputError(msg) from error
    for side, numbers in ((width, found[::2]), (height, found[1::2])):
        if not (min(numbers) >= -OUTSIDE and max(numbers) <= side + OUTSIDE and sum(numbers) == sum(numbers)):
            msg = f"{place}: a polygon lies outside its image of {width}x{height} pixels; mend or remove it"
            raise InputError(msg)
    return found


def _run_length_code(value: Mapping[str, object], width: int, height: int, place: str) -> Mapping[str, object]:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or size != [height, width]:
        msg = f"{place}: its mask has the size {str(size)[:40]}, but the image has [{height}, {width}] (height, width)"
        raise InputError(msg)
    runs = unpack_counts(counts, place) if isinstance(counts, str) else counts
    if not (isinstance(runs, list) and all(type(run) is int and run >= 0 for run in runs)):
        msg = f"{place}: the counts of its mask are not the lengths of runs"
        raise InputError(msg)
    if sum(runs) != width * height:
        msg = f"{place}: the runs of its mask hold {sum(runs)} pixels, but the image has {width * height}"
        raise InputError(msg)
    return {"size": [height, width], "counts": runs}


def unpack_counts(text: str, place: str) -> list[int]:
    """Return the lengths of runs that COCO's compressed text holds: 5 bits a character, differences from the third on.

    Its tools read past the end of a damaged text, so it is read here before they are given it (maskApi.c, rleFrString).

    Raises:
        InputError: the text is cut, or no such code.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:  # noqa: PLR2004 - 6 bits a character, and no run beyond 64 bits
            break
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))  # noqa: PLR2004 - maskApi.c begins at the third
            value = shift = 0
    else:
        if not shift:
            return runs
    msg = f"{place}: the compressed counts of its mask are damaged"
    raise InputError(msg)
