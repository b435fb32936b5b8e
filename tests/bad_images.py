"""Broken files that are named like images: each with its name and the result that it must have."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SIZE: Final = (40, 30)
PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: what is wrong with it.
        file: what the file is called; bytes where its name is no text.
        make: writes it at a path.
        result: (width, height) it is decoded to, or a part of the message that refuses it.
        listed: whether the listing of a folder takes it; otherwise that refuses it already.
    """

    name: str
    file: str | bytes
    make: Callable[[Path], object]
    result: tuple[int, int] | str
    listed: bool = True

    def write(self, folder: Path) -> Path:
        """Write the file into the folder, and return its path."""
        path = folder / os.fsdecode(self.file)
        self.make(path)
        return path


def picture(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture that no compression makes small."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """Return a whole file of that kind."""
    target = io.BytesIO()
    picture(mode, size).save(target, kind, **options)
    return target.getvalue()


def chunk(kind: bytes, content: bytes, *, crc: int | None = None) -> bytes:
    """Return a chunk of a PNG."""
    check = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def png(width: int, height: int, rows: bytes | None = None, *, before: bytes = b"", colour: int = 2) -> bytes:
    """Return a PNG of these sizes, black unless rows (with a filter byte each) are given; `before` stands ahead."""
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    channels = {0: 1, 2: 3}[colour]
    body = zlib.compress(bytes((1 + channels * width) * height) if rows is None else rows, 9)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + before + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def bomb() -> bytes:
    """Return a PNG of a few kilobytes with 100 million pixels."""
    packer = zlib.compressobj(9)
    rows = b"".join([*(packer.compress(bytes(1 + 1_250)) for _ in range(10_000)), packer.flush()])
    header = struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg_markers(content: bytes) -> dict[int, int]:
    """Return the place of each marker of a JPEG up to its pixels."""
    places, place = {}, 2
    while content[place] == 0xFF and content[place + 1] != 0xDA:
        places[content[place + 1]] = place
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return {**places, 0xDA: place}


def without_height() -> bytes:
    """Return a JPEG whose header says 0 rows."""
    content = bytearray(encoded("JPEG"))
    place = jpeg_markers(bytes(content))[0xC0]
    content[place + 5 : place + 7] = b"\0\0"
    return bytes(content)


def claims_to_be_large() -> bytes:
    """Return a JPEG whose header says 65,500 x 65,500 pixels."""
    content = bytearray(encoded("JPEG"))
    place = jpeg_markers(bytes(content))[0xC0]
    content[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(content)


def part(content: bytes, share: float) -> bytes:
    """Return the beginning of a file."""
    return content[: int(len(content) * share)]


def animated_png() -> bytes:
    """Return a PNG of three frames."""
    target = io.BytesIO()
    picture().save(target, "PNG", save_all=True, append_images=[Image.new("RGB", SIZE, c) for c in ("red", "blue")])
    return target.getvalue()


def palette_png() -> bytes:
    """Return a PNG with a palette whose first colour is transparent."""
    target = io.BytesIO()
    picture().quantize(16).save(target, "PNG", transparency=b"\x00\x80\xff")
    return target.getvalue()


def sixteen_bit_png() -> bytes:
    """Return a grey PNG of 16 bits a pixel."""
    target = io.BytesIO()
    pixels = np.linspace(0, 65_535, SIZE[0] * SIZE[1]).astype(np.uint16).reshape(SIZE[1], SIZE[0])
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def commented_png(text: str) -> bytes:
    """Return a PNG with a compressed text."""
    target, info = io.BytesIO(), PngInfo()
    info.add_text("Comment", text, zip=True)
    picture().save(target, "PNG", pnginfo=info)
    return target.getvalue()


def content(data: bytes) -> Callable[[Path], object]:
    """Return what writes the bytes."""
    return lambda path: path.write_bytes(data)


def with_a_profile(profile: bytes) -> bytes:
    """Return a PNG with a colour profile."""
    return png(*SIZE, before=chunk(b"iCCP", b"name\0\0" + zlib.compress(profile, 9)))


def with_a_bad_crc() -> bytes:
    """Return a PNG whose pixels have another checksum."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, 8, 2, 0, 0, 0))
    body = zlib.compress(bytes(121 * 30))
    return PNG_SIGNATURE + header + chunk(b"IDAT", body, crc=1) + chunk(b"IEND", b"")


JPEG: Final = encoded("JPEG")
PNG: Final = encoded("PNG")
PROGRESSIVE: Final = encoded("JPEG", size=(200, 150), progressive=True)
EXIF: Final = b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 60
NO_IMAGE: Final = "it is no JPEG or PNG"

KINDS: Final = (
    Kind("an empty file", "a.jpg", content(b""), NO_IMAGE),
    Kind("text", "a.jpg", content(b"<html>404 Not Found</html>\n" * 20), NO_IMAGE),
    Kind("zeros", "a.png", content(bytes(10_000)), NO_IMAGE),
    Kind("a JPEG cut after 2 bytes", "a.jpg", content(JPEG[:2]), NO_IMAGE),
    Kind("a JPEG cut within its header", "a.jpg", content(JPEG[:100]), "Truncated File Read"),
    Kind("a JPEG cut in the middle", "a.jpg", content(part(JPEG, 0.5)), "truncated"),
    Kind("a JPEG without its last byte", "a.jpg", content(JPEG[:-1]), "truncated"),
    Kind("a progressive JPEG cut in the middle", "a.jpg", content(part(PROGRESSIVE, 0.5)), "truncated"),
    Kind("a JPEG with headers only", "a.jpg", content(JPEG[: jpeg_markers(JPEG)[0xDA]]), "cannot load this image"),
    Kind("a JPEG with 0 rows", "a.jpg", content(without_height()), NO_IMAGE),
    Kind("a JPEG that claims 4,290 million pixels", "a.jpg", content(claims_to_be_large()), "pixels"),
    Kind("a JPEG with a tail of garbage", "a.jpg", content(JPEG + b"garbage" * 1_000), SIZE),
    Kind("a JPEG with broken EXIF", "a.jpg", content(encoded("JPEG", exif=EXIF)), SIZE),
    Kind("a CMYK JPEG", "a.jpg", content(encoded("JPEG", "CMYK")), SIZE),
    Kind("a grey JPEG", "a.jpeg", content(encoded("JPEG", "L")), SIZE),
    Kind("a progressive JPEG", "a.JPG", content(PROGRESSIVE), (200, 150)),
    Kind("a PNG named .jpg", "a.jpg", content(PNG), SIZE),
    Kind("a PNG cut within its header", "a.png", content(PNG[:20]), "Truncated File Read"),
    Kind("a PNG cut in the middle", "a.png", content(part(PNG, 0.5)), "Truncated"),
    Kind("a PNG without its end", "a.png", content(PNG[:-12]), "truncated PNG file"),
    Kind("a PNG with a wrong checksum", "a.png", content(with_a_bad_crc()), "bad header checksum"),
    Kind("a PNG of 0 x 0 pixels", "a.png", content(png(0, 0)), NO_IMAGE),
    Kind("a PNG with too few rows", "a.png", content(png(*SIZE, bytes(121 * 10))), SIZE),
    Kind("a PNG bomb of 100 million pixels", "a.png", content(bomb()), "100,000,000 pixels, more than 50,000,000"),
    Kind(
        "a PNG whose comment unpacks to 50 MB",
        "a.png",
        content(commented_png("A" * 50_000_000)),
        "Decompressed data too large",
    ),
    Kind(
        "a PNG whose colour profile unpacks to 50 MB",
        "a.png",
        content(with_a_profile(bytes(50_000_000))),
        "Decompressed data too large",
    ),
    Kind("a grey PNG of 16 bits", "a.png", content(sixteen_bit_png()), SIZE),
    Kind("a PNG with a palette and transparency", "a.png", content(palette_png()), SIZE),
    Kind("a PNG with alpha", "a.png", content(encoded("PNG", "RGBA")), SIZE),
    Kind("a black and white PNG", "a.png", content(encoded("PNG", "1")), SIZE),
    Kind("an animated PNG", "a.png", content(animated_png()), SIZE),
    Kind("a PNG without pixels", "a.png", content(PNG_SIGNATURE + PNG[8:33] + PNG[-12:]), "list index out of range"),
    Kind("1 x 1 pixel", "a.png", content(encoded("PNG", size=(1, 1))), (1, 1)),
    Kind("1 x 5,000 pixels", "a.png", content(encoded("PNG", size=(1, 5_000))), (1, 5_000)),
    Kind("5,000 x 1 pixels", "a.jpg", content(encoded("JPEG", size=(5_000, 1))), (5_000, 1)),
    Kind("a GIF named .jpg", "a.jpg", content(encoded("GIF")), NO_IMAGE),
    Kind("a BMP named .jpg", "a.jpg", content(encoded("BMP")), NO_IMAGE),
    Kind("a TIFF named .jpg", "a.jpg", content(encoded("TIFF")), NO_IMAGE),
    Kind("a WebP named .jpg", "a.jpg", content(encoded("WEBP")), NO_IMAGE),
    Kind("a PDF named .png", "a.png", content(encoded("PDF")), NO_IMAGE),
    Kind("a folder", "a.png", Path.mkdir, "is no file", listed=False),
    Kind("a link to nothing", "a.jpg", lambda path: path.symlink_to("none"), "is no file", listed=False),
    Kind("a link to itself", "a.jpg", lambda path: path.symlink_to(path.name), "is no file", listed=False),
    Kind("a link to a device", "a.jpg", lambda path: path.symlink_to("/dev/zero"), "is no file", listed=False),
    Kind("a pipe", "a.jpg", os.mkfifo, "is no file", listed=False),
    Kind("a file that may not be read", "a.jpg", lambda path: path.touch(0), "Permission denied"),
    Kind("a name with a line end and ESC", "a\n\x1b[31m.jpg", content(b"x"), NO_IMAGE),
    Kind("a name with an override of direction", "a\u202egnp.jpg", content(b"x"), NO_IMAGE),
    Kind("a name that is no UTF-8", b"a\xff.jpg", content(b"x"), NO_IMAGE),
)
