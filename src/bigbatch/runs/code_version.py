"""Which code ran: hashes of our own source and of the user's modules, and versions of the libraries of a recipe."""

from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from bigbatch.recipe import Recipe
from bigbatch.runs.provenance import PACKAGES

DIGITS = 16
PLAIN_TOKENIZERS = ("bytes", "characters")


def describe_code(recipe: Recipe) -> dict[str, str]:
    """Return the first digits of the SHA-256 of bigbatch's source, and of each of the user's modules in the recipe.

    A module without a file (a builtin, or one that cannot be found) has "no source" instead.
    """
    modules = sorted({name.partition(":")[0] for name in recipe.user_code})
    return {"bigbatch": _hash(sorted(Path(__file__).parents[1].rglob("*.py")))} | {
        name: _of_module(name) for name in modules
    }


def library_versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of the installed libraries whose models, data or functions a recipe names."""
    library, is_of_a_library, _ = recipe.model.name.partition("/")
    names = {name.partition(":")[0].partition(".")[0] for name in recipe.user_code} - {"bigbatch", *PACKAGES}
    if is_of_a_library:
        names.add(library)
    if recipe.data.tokenizer.endswith(".json"):
        names.add("tokenizers")
    elif recipe.data.tokenizer not in PLAIN_TOKENIZERS:
        names.add("transformers")
    versions = {name: _version(name) for name in sorted(names)}
    return {name: version for name, version in versions.items() if version}


def _version(module: str) -> str:
    """Return the version of the library that a module belongs to; "" for a module of the user's own."""
    with suppress(PackageNotFoundError):
        return version(module)
    owners = packages_distributions().get(module, ())
    return ", ".join(version(owner) for owner in sorted(set(owners)))


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
