"""Save checkpoints. A kill at any moment leaves the last one whole, and no broken one that looks whole."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bigbatch.atomic_file import put_in_place, remove_temporaries, temporary_of, write_atomically
from bigbatch.checkpoint.manifest import (
    DATA_SUFFIX,
    Manifest,
    Position,
    data_files,
    data_path,
    list_manifests,
    manifest_path,
    read_manifest,
)
from bigbatch.checkpoint.staging import Staging
from bigbatch.checkpoint.state import flatten
from bigbatch.recipe.metrics import cost
from bigbatch.rules.randomness.keyed import SCHEME
from bigbatch.runs.provenance import package_version

TEMPORARIES_OF_SAFETENSORS: Final = ".tmp*"


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state, which is written while training goes on.

    Attributes:
        structure: of the state, as `state.flatten` gives it.
        tensors: its tensors, on the CPU; they share no memory with the training.
        position: where in the training it was taken.
        recipe: of the run, as TOML.
        wait: until the tensors have arrived from a GPU.
    """

    structure: Any
    tensors: Mapping[str, Tensor]
    position: Position
    recipe: str
    wait: Callable[[], None]

    @classmethod
    def of(
        cls, state: Mapping[str, Any], position: Position, recipe: str, staging: Staging | None = None
    ) -> "Snapshot":
        """Copy the state. Training waits for this copy, on a GPU not even for that.

        Args:
            state: to copy.
            position: in the training.
            recipe: of the run, as TOML.
            staging: what is kept from one snapshot to the next, which may be made when the one before is written.

        Raises:
            InputError: the state has a value that cannot be saved.
        """
        structure, tensors = flatten(state)
        copies, wait = (staging or Staging()).copy(tensors)
        return cls(structure, copies, position, recipe, wait)


def save_checkpoint(folder: Path, snapshot: Snapshot, *, keep: int) -> Path:
    """Write a checkpoint, and remove all but the newest and the best; return its manifest's path.

    The data is written first, then the manifest with its hash. Each is a temporary file, which is synced and renamed;
    then the folder is synced.

    Args:
        folder: of the checkpoints.
        snapshot: what to save.
        keep: how many of the newest stay.

    Raises:
        OSError: it could not be written; earlier checkpoints are still there.
    """
    path = manifest_path(folder, snapshot.position.iteration)
    temporary = temporary_of(path.with_suffix(DATA_SUFFIX))
    try:
        _write_tensors(temporary, snapshot)
        with temporary.open("rb") as file:
            sha256, size_bytes = file_digest(file, "sha256").hexdigest(), file.seek(0, 2)
        manifest = Manifest(
            **asdict(snapshot.position),
            sha256=sha256,
            size_bytes=size_bytes,
            recipe=snapshot.recipe,
            randomness=SCHEME,
            bigbatch=package_version("bigbatch"),
        )
        put_in_place(temporary, data_path(path, manifest))
    finally:
        temporary.unlink(missing_ok=True)
    try:
        write_atomically(path, manifest.to_json().encode())
    except OSError:
        _remove_data_without_manifest(folder)  # a full disk has no room for it
        raise
    with suppress(OSError):  # the new one is saved, even if an old one cannot be removed
        prune(folder, keep=keep)
    return path


def prune(folder: Path, *, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the one with the best result."""
    manifests = list_manifests(folder)
    kept = {*manifests[:keep], best_checkpoint(folder)}
    for path in manifests:
        if path not in kept:
            path.unlink()
    _remove_data_without_manifest(folder)


def best_checkpoint(folder: Path) -> Path | None:
    """Return the manifest with the best result; the earliest of equals, or None if there is none."""
    costs: dict[Path, float] = {}
    for path in reversed(list_manifests(folder)):
        try:
            manifest = read_manifest(path)
        except (OSError, ValueError):
            continue  # loading says what is wrong with it
        if manifest.result is not None:
            costs[path] = cost(manifest.result, better=manifest.better)
    return min(costs, key=lambda path: costs[path], default=None)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed writers have left: temporaries, and data without a manifest.

    A manifest without data stays: loading refuses it, and says why.
    """
    remove_temporaries(folder)
    for temporary in folder.glob(TEMPORARIES_OF_SAFETENSORS):
        temporary.unlink(missing_ok=True)
    _remove_data_without_manifest(folder)


def _remove_data_without_manifest(folder: Path) -> None:
    described: set[Path] = set()
    for path in list_manifests(folder):
        try:
            described.add(data_path(path, read_manifest(path)))
        except (OSError, ValueError):
            described.update(data_files(path))  # one of them may be its own
    for data in folder.glob(f"iteration-*{DATA_SUFFIX}"):
        if data not in described:
            data.unlink(missing_ok=True)


def _write_tensors(path: Path, snapshot: Snapshot) -> None:
    snapshot.wait()
    try:
        save_file(dict(snapshot.tensors), path, metadata={"structure": json.dumps(snapshot.structure)})
    except SafetensorError as error:
        raise OSError(str(error).rpartition("error: ")[2]) from error
    with suppress(OSError):
        path.chmod(path.parent.stat().st_mode & 0o666)  # the library makes it private
