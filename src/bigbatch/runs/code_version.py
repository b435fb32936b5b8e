"""Which code ran: hashes of our own source and of the user's modules that a recipe names."""

from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from bigbatch.recipe import Recipe

DIGITS = 16


def describe_code(recipe: Recipe) -> dict[str, str]:
    """Return the first digits of the SHA-256 of bigbatch's source, and of each of the user's modules in the recipe.

    A module without a file (a builtin, or one that cannot be found) has "no source" instead.
    """
    modules = sorted({name.partition(":")[0] for name in recipe.user_code})
    return {"bigbatch": _hash(sorted(Path(__file__).parents[1].rglob("*.py")))} | {
        name: _of_module(name) for name in modules
    }


def _of_module(name: str) -> str:
    with suppress(ImportError, ValueError, OSError):
        spec = find_spec(name)
        if spec and spec.origin:
            return _hash([Path(spec.origin)])
    return "no source"


def _hash(files: Iterable[Path]) -> str:
    digest = sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:DIGITS]
