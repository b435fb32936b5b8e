"""Does bad input ever end in a traceback, a wait or a flood of memory? Every bad image, and 1,000 mutations.

Run from the repository's root: python benchmarks/faults/bad_input.py [SEED]. The generators are those of the tests.
"""

import contextlib
import io
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bigbatch.cli import main as bigbatch
from bigbatch.data.image_files.decode import open_image
from bigbatch.errors import InputError
from bigbatch.printable import printable

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from bad_images import KINDS, Kind
from mutations import mutated_command_lines, mutated_recipes

NUM_RECIPES: Final = 700
NUM_COMMAND_LINES: Final = 300
BAD_INPUT: Final = 2


def run(seed: int = 0) -> tuple[str, str]:
    """Return what is promised of bad input, and what was measured."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # a mutated recipe may name a module, which is looked for in the current folder
        images = [timed(image_result, kind, Path(tempfile.mkdtemp(dir=folder))) for kind in KINDS]
        recipes = [timed(recipe_result, content) for _, content in mutated_recipes(NUM_RECIPES, seed=seed)]
        commands = [timed(command_result, words) for words in mutated_command_lines(NUM_COMMAND_LINES, seed=seed)]
        os.chdir(before)
    slowest = max(seconds for _, seconds in (*images, *recipes, *commands))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    promise = (
        "25 kinds of bad image files, 1,000 mutated recipes and command lines: the documented result; no traceback"
    )
    measured = (
        f"{len(KINDS)} kinds of image files: {_counts(images)}; {NUM_RECIPES} recipes: {_counts(recipes)}; "
        f"{NUM_COMMAND_LINES} command lines: {_counts(commands)}; the slowest took {slowest:.2f} s, "
        f"peak memory {memory:.0f} MB"
    )
    return promise, measured


def timed(function: Callable[..., str], *arguments: object) -> tuple[str, float]:
    """Return what the function says, and how many seconds it took."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def recipe_result(content: bytes) -> str:
    """Plan a recipe of these bytes."""
    Path("mutated.toml").write_bytes(content)
    return command_result(["plan", "mutated.toml"])


def command_result(arguments: Sequence[str]) -> str:
    """Run a command here and say how it ended: planned, refused by one printable line, or what must not be."""
    out, error = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            code = bigbatch(arguments)
    except SystemExit as end:  # of --help
        code = int(end.code or 0)
    except Exception as bug:  # noqa: BLE001 - this is what is counted
        return f"TRACEBACK of {type(bug).__name__}"
    line = error.getvalue()
    if code == BAD_INPUT:
        return "refused in one printable line" if line.endswith("\n") and line[:-1].isprintable() else "BAD LINE"
    return "planned" if code == 0 else f"EXIT CODE {code}"


def image_result(kind: Kind, folder: Path) -> str:
    """Write a file of that kind, decode it, and say whether it came out as documented."""
    path, expected = kind.write(folder), kind.result
    try:
        size = open_image(path).size
    except InputError as error:
        if expected == "Permission denied" and os.geteuid() == 0:
            return "refused"  # root may read it: then it is an empty file
        documented = isinstance(expected, str) and expected in str(error)
        return "refused" if documented and printable(str(path)) in printable(str(error)) else "WRONGLY REFUSED"
    except Exception as bug:  # noqa: BLE001 - this is what is counted
        return f"TRACEBACK of {type(bug).__name__}"
    return "decoded" if size == expected else "WRONGLY DECODED"


def _counts(results: Sequence[tuple[str, float]]) -> str:
    counts = Counter(result for result, _ in results)
    return ", ".join(f"{count} {result}" for result, count in counts.most_common())


if __name__ == "__main__":
    for text in run(int(sys.argv[1]) if len(sys.argv) > 1 else 0):
        print(text)
