"""Save a checkpoint so that a kill at any moment leaves the last one whole, and nothing that looks like one."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from bigbatch.atomic_file import put_in_place, sweep_temporaries, temporary_of, write_atomically
from bigbatch.checkpoint.manifest import (
    DATA_SUFFIX,
    Manifest,
    Position,
    data_path,
    list_manifests,
    manifest_path,
    read_manifest,
)
from bigbatch.checkpoint.state import flatten
from bigbatch.keyed_random import SCHEME
from bigbatch.runs import package_version


@dataclass(frozen=True)
class Snapshot:
    """A copy of the state that training can leave behind.

    Attributes:
        structure: of the state, as `state.flatten` gives it.
        tensors: its tensors, on the CPU, used by nobody else.
        position: where in the training it was taken.
        recipe: of the run, as TOML.
    """

    structure: Any
    tensors: Mapping[str, Tensor]
    position: Position
    recipe: str

    @classmethod
    def of(cls, state: Mapping[str, Any], position: Position, recipe: str) -> "Snapshot":
        """Copy the state: all that training has to wait for.

        Raises:
            InputError: there is something in it that cannot be saved.
        """
        structure, tensors = flatten(state)
        copies = {path: _copy(tensor) for path, tensor in tensors.items()}
        return cls(structure, copies, position, recipe)


def save_checkpoint(folder: Path, snapshot: Snapshot, *, keep: int) -> Path:
    """Write a checkpoint, and remove all but the newest and the best; return its manifest's path.

    The data first, then the manifest with its hash; each as temporary file, fsync, rename, fsync of the folder.

    Args:
        folder: of the checkpoints.
        snapshot: what to save.
        keep: how many of the newest stay.

    Raises:
        OSError: it could not be written; those before are still there.
    """
    manifest = manifest_path(folder, snapshot.position.iteration)
    data = data_path(manifest)
    temporary = temporary_of(data)
    try:
        _write_tensors(temporary, snapshot)
        with temporary.open("rb") as file:
            sha256, size_bytes = file_digest(file, "sha256").hexdigest(), file.seek(0, 2)
        manifest.unlink(missing_ok=True)  # of the same iteration: never with the data of another
        put_in_place(temporary, data)
    finally:
        temporary.unlink(missing_ok=True)
    described = Manifest(
        **asdict(snapshot.position),
        sha256=sha256,
        size_bytes=size_bytes,
        recipe=snapshot.recipe,
        randomness=SCHEME,
        bigbatch=package_version("bigbatch"),
    )
    write_atomically(manifest, described.to_json().encode())
    prune(folder, keep=keep)
    return manifest


def prune(folder: Path, *, keep: int) -> None:
    """Remove all checkpoints but the newest `keep` and the one with the lowest validation error."""
    manifests = list_manifests(folder)
    kept = {*manifests[:keep], best_checkpoint(folder)}
    for manifest in manifests:
        if manifest not in kept:
            manifest.unlink()
            data_path(manifest).unlink(missing_ok=True)


def best_checkpoint(folder: Path) -> Path | None:
    """Return the manifest with the lowest validation error, the earliest of them; None if there is none."""
    errors: dict[Path, float] = {}
    for path in reversed(list_manifests(folder)):
        try:
            error = read_manifest(path).validation_error
        except (OSError, ValueError):
            continue  # loading says what is wrong with it
        if error is not None:
            errors[path] = error
    return min(errors, key=lambda path: errors[path], default=None)


def sweep(folder: Path) -> None:
    """Remove what killed writers have left: temporaries, and data without a manifest or the reverse."""
    sweep_temporaries(folder)
    manifests = list_manifests(folder)
    whole = {data_path(path) for path in manifests}
    for data in folder.glob(f"iteration-*{DATA_SUFFIX}"):
        if data not in whole:
            data.unlink()
    for path in manifests:
        if not data_path(path).exists():
            path.unlink()


def _copy(tensor: Tensor) -> Tensor:
    copy = tensor.detach().cpu().contiguous()
    return copy.clone() if copy.data_ptr() == tensor.data_ptr() else copy


def _write_tensors(path: Path, snapshot: Snapshot) -> None:
    try:
        save_file(dict(snapshot.tensors), path, metadata={"structure": json.dumps(snapshot.structure)})
    except SafetensorError as error:
        raise OSError(str(error).rpartition("error: ")[2]) from error
    path.chmod(path.parent.stat().st_mode & 0o666)  # the library makes it private
