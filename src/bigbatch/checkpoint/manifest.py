"""The manifest says what a checkpoint's file must be. It is written last: a file that has a manifest is whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, get_type_hints

from bigbatch.recipe.metrics import DIRECTIONS, LOWER

FORMAT: Final = 4
OLD_FORMAT: Final = 3  # its result is a validation error
MAX_BYTES: Final = 1 << 20
MANIFESTS: Final = "iteration-*.json"
DATA_SUFFIX: Final = ".safetensors"
HASH_DIGITS: Final = 8


@dataclass(frozen=True)
class Position:
    """Where in a training a checkpoint was saved.

    Attributes:
        iteration: updates done.
        samples_consumed: training samples used up by them.
        epochs: that are over and evaluated.
        result: the metric that judges, in its unit; None if the checkpoint was saved within an epoch.
        better: which way the metric is better: "lower" or "higher".
    """

    iteration: int
    samples_consumed: int
    epochs: int
    result: float | None
    better: str


@dataclass(frozen=True)
class Manifest(Position):
    """What a checkpoint's file must be, and its position.

    Attributes:
        sha256: of the file.
        size_bytes: of the file.
        recipe: of the run, as TOML.
        randomness: the scheme by which random numbers follow from the recipe's seed (`keyed.SCHEME`).
        bigbatch: the version that wrote it.
        format: the version of the checkpoint's format.
    """

    sha256: str
    size_bytes: int
    recipe: str
    randomness: str
    bigbatch: str
    format: int = FORMAT

    def to_json(self) -> str:
        """Return it as text, with a checksum of its own."""
        return _with_checksum(asdict(self))


def _with_checksum(table: Mapping[str, Any]) -> str:
    checksum = sha256(json.dumps(table).encode()).hexdigest()
    return json.dumps({**table, "checksum": checksum}, indent=2) + "\n"


def manifest_path(folder: Path, iteration: int) -> Path:
    """Return the path of a checkpoint's manifest; its data lies beside it."""
    return folder / f"iteration-{iteration:09d}.json"


def data_path(path: Path, manifest: Manifest) -> Path:
    """Return the file that a manifest describes. Its name has its hash, so no save writes over another's data.

    Args:
        path: of the manifest.
        manifest: what it says.
    """
    return path.with_name(f"{path.stem}-{manifest.sha256[:HASH_DIGITS]}{DATA_SUFFIX}")


def data_files(path: Path) -> list[Path]:
    """Return all data files of a manifest's iteration: its own, and those that killed saves have left."""
    return list(path.parent.glob(f"{path.stem}-*{DATA_SUFFIX}"))


def list_manifests(folder: Path) -> list[Path]:
    """Return the manifests of a folder, the newest first."""
    found = [path for path in folder.glob(MANIFESTS) if path.stem.removeprefix("iteration-").isdecimal()]
    return sorted(found, key=iteration_of, reverse=True)


def iteration_of(path: Path) -> int:
    """Return the iteration in a checkpoint's name."""
    return int(path.stem.removeprefix("iteration-"))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or another version wrote it; the text says which.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    table = _parse(content)
    if table.get("format") not in {FORMAT, OLD_FORMAT}:
        msg = f"its manifest is of format {table.get('format')!r:.20}, and this version of bigbatch reads {FORMAT}"
        raise ValueError(msg)
    table.pop("checksum", None)
    is_sound = _with_checksum(table).encode() == content
    if table["format"] == OLD_FORMAT and "validation_error" in table:
        table |= {"result": table.pop("validation_error"), "better": LOWER}
    types = get_type_hints(Manifest)
    is_complete = table.keys() == types.keys() and all(isinstance(table[key], kind) for key, kind in types.items())
    if not (is_sound and is_complete and table["better"] in DIRECTIONS):
        msg = "its manifest is damaged"
        raise ValueError(msg)
    manifest = Manifest(**table)
    if manifest.iteration != iteration_of(path):
        msg = f"its manifest is that of iteration {manifest.iteration}"
        raise ValueError(msg)
    return manifest


def _parse(content: bytes) -> dict[str, Any]:
    try:
        table = json.loads(content) if len(content) <= MAX_BYTES else None
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        msg = "its manifest is damaged"
        raise ValueError(msg)  # noqa: TRY004 - the file's fault, not a caller's
    return table
