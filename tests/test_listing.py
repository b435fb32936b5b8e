"""A folder of images is listed once; the kept listing is what a new one would be, or it is not used."""

import os
import pickle
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bigbatch.data.image_files import kept_listing
from bigbatch.data.image_files.folder import ClassFolders
from bigbatch.data.image_files.kept_listing import fingerprint, open_listing
from bigbatch.data.image_folder import ImageFolder
from bigbatch.errors import InputError

NAMES = {"ant": ("a b.jpg", "b.PNG", "c.jpeg"), "bee": ("x.jpg",), "cow": ("1.jpg", "10.jpg", os.fsdecode(b"\xff.jpg"))}


@pytest.fixture
def split(tmp_path, monkeypatch):
    """Return a split whose listing is kept, of folders that have not changed for a while."""
    monkeypatch.setattr(kept_listing, "KEPT_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, files in NAMES.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        for number, file in enumerate(files):
            (tmp_path / "train" / name / file).write_bytes(b"." * (10 * number + len(name)))
        (tmp_path / "train" / name / "notes.txt").touch()
    settle(tmp_path / "train")
    return tmp_path / "train"


def settle(split):
    for folder in (split, *filter(Path.is_dir, split.iterdir())):
        os.utime(folder, (1e9, 1e9))


def content(listing):
    return [(Path(listing.place(i)), listing.label(i), int(listing.sizes[i])) for i in range(len(listing))]


def expected(split):
    return [
        (split / name / file, label, (split / name / file).stat().st_size)
        for label, name in enumerate(sorted(path.name for path in split.iterdir()))
        for file in sorted(path.name for path in (split / name).iterdir() if path.suffix.lower() != ".txt")
    ]


@pytest.fixture
def unlisted(monkeypatch):
    """Fail if a folder is listed from here on."""

    def unlist():
        monkeypatch.setattr(ClassFolders, "list", lambda *_: pytest.fail("listed again"))

    return unlist


def test_what_is_kept_is_what_is_there(split, unlisted):
    first = open_listing(ClassFolders(split))
    assert first.file is not None
    assert content(first) == expected(split)
    unlisted()
    again = open_listing(ClassFolders(split))
    assert content(again) == expected(split)
    assert (again.classes, again.folder) == (("ant", "bee", "cow"), split)


@pytest.mark.parametrize(
    "change",
    [
        lambda split: (split / "ant" / "d.jpg").write_bytes(b"new"),
        lambda split: (split / "ant" / "c.jpeg").unlink(),
        lambda split: (split / "ant" / "c.jpeg").rename(split / "ant" / "e.jpeg"),
        lambda split: (split / "cow" / "1.jpg").rename(split / "ant" / "1.jpg"),
        lambda split: shutil.rmtree(split / "bee"),
        lambda split: shutil.copytree(split / "bee", split / "dog"),
        lambda split: (split / "bee").rename(split / "wasp"),
    ],
)
def test_a_folder_that_has_changed_is_listed_again(split, change):
    open_listing(ClassFolders(split))
    change(split)
    assert content(open_listing(ClassFolders(split))) == expected(split)


def test_a_folder_that_has_just_changed_is_not_kept(split):
    (split / "ant" / "d.jpg").write_bytes(b"new")
    assert open_listing(ClassFolders(split)).file is None
    settle(split)
    assert open_listing(ClassFolders(split)).file is not None


def test_a_small_folder_is_not_kept(split, monkeypatch):
    monkeypatch.setattr(kept_listing, "KEPT_FROM", 8)
    assert open_listing(ClassFolders(split)).file is None


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_file_is_made_anew(split, place):
    file = open_listing(ClassFolders(split)).file
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 1
    file.write_bytes(damaged)
    assert content(open_listing(ClassFolders(split))) == expected(split)
    for cut in (0, 10, len(damaged) - 1):
        file.write_bytes(bytes(damaged[:cut]))
        assert content(open_listing(ClassFolders(split))) == expected(split)


def test_without_a_place_for_it_nothing_is_kept_and_nothing_fails(split, tmp_path):
    (tmp_path / "cache").touch()
    assert content(open_listing(ClassFolders(split))) == expected(split)
    assert fingerprint(open_listing(ClassFolders(split))) == fingerprint(ClassFolders(split).list())


def test_a_user_without_a_home_keeps_nothing(split, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(kept_listing, "cache_folder", raising)
    assert content(open_listing(ClassFolders(split))) == expected(split)
    assert fingerprint(open_listing(ClassFolders(split))) == fingerprint(ClassFolders(split).list())


def raising():
    raise RuntimeError


@pytest.mark.parametrize("name", [b"\xff", "é".encode(), b"a b"])
def test_names_of_folders_may_be_any_bytes(split, name):
    (split / "bee").rename(split / os.fsdecode(name))
    other = split.rename(split.parent / os.fsdecode(name))
    settle(other)
    for _ in range(2):
        listing = open_listing(ClassFolders(other))
        assert content(listing) == expected(other)
        assert fingerprint(listing) == fingerprint(ClassFolders(other).list())
    assert listing.file is not None


def test_the_fingerprint_is_of_splits_classes_names_and_sizes(split, monkeypatch):
    shutil.copytree(split, split.parent / "val")
    settle(split.parent / "val")
    digest = sha256()
    for folder in (split, split.parent / "val"):
        for path, _, size in expected(folder):
            digest.update(os.fsencode(f"{folder.name}/{path.parent.name}/{path.name}\0{size}\0"))
    splits = [open_listing(ClassFolders(split)), open_listing(ClassFolders(split.parent / "val"))]
    for _ in range(2):
        assert fingerprint(*splits) == digest.hexdigest()
        monkeypatch.setattr(kept_listing.Listing, "fingerprint", lambda _: pytest.fail("computed again"))
    monkeypatch.undo()
    assert fingerprint(*reversed(splits)) != digest.hexdigest()


def test_a_reader_that_is_not_forked_gets_the_same(split):
    for listing in (ClassFolders(split).list(), open_listing(ClassFolders(split))):
        sent = pickle.dumps(listing)
        assert content(pickle.loads(sent)) == expected(split)  # noqa: S301 - our own
    assert len(sent) < 400, "the file is named, not sent"


def test_a_loop_of_links_and_a_link_to_nothing_are_refused_and_links_to_files_are_followed(split):
    (split / "ant" / "link.jpg").symlink_to(split / "bee" / "x.jpg")
    assert content(open_listing(ClassFolders(split))) == expected(split)
    for target in ("loop.jpg", "nothing"):
        (split / "ant" / "loop.jpg").symlink_to(target)
        with pytest.raises(InputError, match=r"ant/loop\.jpg is named like an image, but is no file"):
            open_listing(ClassFolders(split))
        (split / "ant" / "loop.jpg").unlink()


def test_an_image_that_has_changed_since_and_a_class_that_vanishes_are_named(split):
    for path, *_ in expected(split):
        Image.new("RGB", (8, 8)).save(path, format="PNG")
    images = ImageFolder(open_listing(ClassFolders(split)), 8, ())
    assert len(images.read_batch(np.arange(len(images)), key=1)[0]) == len(images)
    settle(split)
    (split / "bee" / "x.jpg").write_bytes(b"another")
    with pytest.raises(InputError, match=r"bee/x\.jpg has 7 bytes, and had .* touch .*bee"):
        images.read_batch(np.array([3]), key=1)
    shutil.rmtree(split / "ant")
    with pytest.raises(InputError, match=r"ant/a b\.jpg is no file"):
        images.read_batch(np.array([0]), key=1)
