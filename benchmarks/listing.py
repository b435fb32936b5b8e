"""A folder of 1.3 million images: the first listing, every later one, and the memory of all readers together.

Run from the repository's root: python benchmarks/listing.py. It makes links to a few images in a temporary folder.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from card import write_card

CLASSES, IMAGES, READERS = 1000, 1_300_000, 8


def make_folder(root: Path) -> None:
    """Make the class folders, with names as long as ImageNet's."""
    image = root / "image.jpg"
    image.write_bytes(b"\xff\xd8\xff" + bytes(100_000))
    each = IMAGES // CLASSES
    for label in range(CLASSES):
        folder = root / "train" / f"n{label:08d}"
        folder.mkdir(parents=True)
        for number in range(each):
            (folder / f"n{label:08d}_{number}.JPEG").symlink_to(image)
    time.sleep(2.5)  # what has just changed is not kept


def open_folder(folder: Path) -> dict[str, float]:
    """Open it in this process, and have readers look at it; return seconds and megabytes."""
    start = time.perf_counter()
    from bigbatch.data.image_files.folder import ClassFolders
    from bigbatch.data.image_files.kept_listing import fingerprint, open_listing

    imported = time.perf_counter()
    before = megabytes(os.getpid())
    listing = open_listing(ClassFolders(folder))
    opened = time.perf_counter()
    fingerprint(listing)
    done = time.perf_counter()
    readers = []
    for _ in range(READERS):
        ours, theirs = os.pipe()
        if not (pid := os.fork()):
            assert sum(len(listing.name(index)) + listing.label(index) for index in range(0, len(listing), 97))
            os.write(theirs, b".")
            time.sleep(3600)
        os.read(ours, 1)
        readers.append(pid)
    total = sum(megabytes(pid) for pid in (os.getpid(), *readers))
    for pid in readers:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return {
        "import": imported - start,
        "open": opened - imported,
        "fingerprint": done - opened,
        "more MB in all": total - before,
    }


def megabytes(pid: int) -> float:
    """Return a process's memory; what is shared by several counts in parts."""
    line = next(line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def main() -> None:
    """Make the folder, open it twice in new processes, and write the card."""
    with tempfile.TemporaryDirectory(prefix="bigbatch-listing-") as name:
        root = Path(name)
        make_folder(root)
        environment = {**os.environ, "XDG_CACHE_HOME": f"{root}/cache"}
        command = [sys.executable, __file__, str(root / "train")]
        found = [json.loads(subprocess.check_output(command, env=environment)) for _ in range(2)]
        kept = sum(path.stat().st_size for path in (root / "cache").rglob("*") if path.is_file())
    rows = [
        f"| {label} | {result['open']:.2f} | {result['fingerprint']:.2f} | {result['more MB in all']:.0f} |"
        for label, result in zip(("first time", "afterwards"), found, strict=True)
    ]
    header = (
        f"A split of {IMAGES:,} links in {CLASSES:,} classes on a local disk. Memory is that of the process and its "
        f"{READERS} readers together, above that of one process before. The kept listing is {kept / 1e6:.0f} MB.\n\n"
        "| | open, s | fingerprint, s | memory, MB |\n|---|---|---|---|\n"
    )
    write_card("listing", "A folder of 1.3 million images", found, header + "\n".join(rows))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(open_folder(Path(sys.argv[1]))))
    else:
        main()
