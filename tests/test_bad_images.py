"""Files that are named like images: each is decoded as documented, or refused by one line that names it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bigbatch
from bad_images import KINDS, bomb, commented_png, content, sixteen_bit_png
from bigbatch.cli import main
from bigbatch.data.image_files.decode import open_image
from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_folder import ImageFolder
from bigbatch.errors import InputError
from bigbatch.printable import printable

LONGEST_SECONDS = 5
DOCUMENT = Path(__file__).parents[1] / "docs" / "bad_input.md"


# Root may read everything: there, the test that gives root up has that kind.
READABLE = [kind for kind in KINDS if kind.result != "Permission denied" or os.geteuid() != 0]


@pytest.mark.parametrize("kind", READABLE, ids=lambda kind: kind.name)
def test_a_file_is_decoded_or_refused_by_a_line_that_names_it(kind, tmp_path):
    path = kind.write(tmp_path)
    start = time.perf_counter()
    if isinstance(kind.result, tuple):
        image = open_image(path)
        assert (image.mode, image.size) == ("RGB", kind.result)
        assert np.asarray(image).dtype == np.uint8
    else:
        with pytest.raises(InputError) as error:
            open_image(path)
        assert kind.result in str(error.value)
        assert str(path) in str(error.value)
        assert str(error.value).count("\n") == str(path).count("\n")  # more lines than the name has, it never has
    assert time.perf_counter() - start < LONGEST_SECONDS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_command_says_it_in_one_printable_line(kind, tmp_path, capsys):
    """A recipe's plan counts an image-folder's files, and reads a CIFAR-10 folder's images."""
    for split in ("train", "test"):
        (tmp_path / split / "ant").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(tmp_path / "test" / "ant" / "good.png")
    path = kind.write(tmp_path / "train" / "ant")
    for name in ("image-folder", "cifar10"):
        code = main(["plan", "cifar10", "--set", f"data.name={name}", "--set", f"data.path={tmp_path}"])
        error = capsys.readouterr().err
        assert code == 2  # if only because there is one image in it
        assert error.startswith("bigbatch: error: ")
        assert error.endswith("\n")
        assert error[:-1].isprintable()
        refused = not kind.listed or name == "cifar10"
        assert (printable(str(path)) in error) == refused or kind.result == "Permission denied"


def test_what_was_decoded_makes_a_block_of_samples(tmp_path):
    """Also if the square that is cut from an image is one pixel."""
    (tmp_path / "train" / "ant").mkdir(parents=True)
    good = [kind for kind in KINDS if isinstance(kind.result, tuple)]
    for number, kind in enumerate(good):
        kind.write(tmp_path).rename(tmp_path / "train" / "ant" / f"{number}.png")
    for augmentation in ((), ("random-resized-crop", "flip")):
        folder = ImageFolder(ClassFolders(tmp_path / "train").list(), 8, augmentation)
        images, labels = folder.read_batch(np.arange(len(good)), key=1)
        assert images.shape == (len(good), 3, 8, 8)
        assert images.isfinite().all()
        assert labels.tolist() == [0] * len(good)


def test_sixteen_bits_become_eight_and_are_not_cut_off(tmp_path):
    (tmp_path / "a.png").write_bytes(sixteen_bit_png())
    pixels = np.asarray(open_image(tmp_path / "a.png"))
    assert abs(pixels.mean() - 127.5) < 1
    assert (pixels.min(), pixels.max()) == (0, 255)


@pytest.mark.parametrize("data", [bomb(), commented_png("A" * 50_000_000)], ids=["pixels", "comment"])
def test_a_bomb_takes_no_memory(data, tmp_path):
    """The process may take at most 32 MB more than it had before it opened the file."""
    content(data)(tmp_path / "a.png")
    program = """
import resource, sys
from pathlib import Path
from PIL import Image, PngImagePlugin
from bigbatch.data.image_files.decode import open_image
from bigbatch.errors import InputError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_image(Path(sys.argv[1]))
except InputError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-W", "error", "-c", program, tmp_path / "a.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32_000


def test_what_may_not_be_read_is_refused(tmp_path):
    """It needs a process that is not root, as root may read everything."""
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.jpg").touch(0)
    (tmp_path / "closed").mkdir(0)
    (tmp_path / "closed.toml").touch(0)
    tmp_path.chmod(0o755)
    program = """
import os, sys
from pathlib import Path
import PIL.Image
import bigbatch.cli.parse, bigbatch.data.image_folder  # the standard library may be root's alone
from bigbatch.cli import main
from bigbatch.data.image_files.decode import open_image
from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.errors import InputError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for read, path in ((open_image, "class/a.jpg"), (lambda path: ClassFolders(path).list(), "closed")):
    try:
        read(Path(path))
    except InputError as error:
        print(error)
for path in ("closed.toml", "closed/a", "closed/a.toml"):
    print(main(["plan", path]), file=sys.stderr)
"""
    source = Path(bigbatch.__file__).parents[1]
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(source)!r})\n{program}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    first, second = done.stdout.splitlines()
    assert "class/a.jpg (Permission denied)" in first
    assert "cannot read the folder" in second
    assert done.stderr.splitlines()[1::2] == ["2", "2", "2"]


def test_every_kind_is_documented():
    text = DOCUMENT.read_text()
    for kind in KINDS:
        assert f"| {kind.name} |" in text
    assert len(KINDS) >= 25
