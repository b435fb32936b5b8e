"""Load the newest checkpoint that agrees with its manifest; refuse the others, and say why."""

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from torch import Tensor

from bigbatch.checkpoint.manifest import Manifest, data_files, data_path, list_manifests, read_manifest
from bigbatch.checkpoint.state import unflatten
from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_name, with_plain_names
from bigbatch.recipe import Recipe, differences, is_longer
from bigbatch.recipe.file import from_toml
from bigbatch.rules.randomness.keyed import SCHEME

Like = Mapping[str, Tensor] | None
KINDS: Final = {
    "model": dict,
    "buffers": dict,
    "optimizer": dict,
    "results": list,
    "epoch_loss": float,
    "epoch_updates": int,
    "course": dict,
    "seconds": float,
}
OLD_RESULTS: Final = "validation_errors"  # as older checkpoints name them


class RefusedError(ValueError):
    """A checkpoint that cannot be used; the text says why."""


def load_last_good(
    folder: Path, *, recipe: Recipe, like: Like
) -> tuple[tuple[Manifest, dict[str, Any]] | None, dict[Path, str]]:
    """Return the newest checkpoint that can be used, and why newer ones were refused. It is None if there are none.

    Args:
        folder: of the checkpoints.
        recipe: of the run. A checkpoint of another recipe is refused.
        like: the model's state. Its tensors are compared with the file's before memory is taken; None for any model.

    Raises:
        InputError: there are checkpoints, but none that can be used.
    """
    refused: dict[Path, str] = {}
    for path in list_manifests(folder):
        try:
            return load_checkpoint(path, recipe=recipe, like=like), refused
        except RefusedError as error:
            refused[path] = f"the checkpoint {path.with_suffix('')} is not used: {error}"
    if refused:
        msg = f"{'; '.join(refused.values())}; put a whole one back, or remove them to start anew"
        raise InputError(msg)
    return None, {}


def set_aside(folder: Path, refused: Mapping[Path, str]) -> None:
    """Rename the refused checkpoints, so that they no longer count as the newest. Nothing is deleted."""
    for path in refused:
        for file in (path, *data_files(path)):
            with suppress(OSError):
                file.rename(folder / f"refused-{file.name}")


def load_checkpoint(path: Path, *, recipe: Recipe, like: Like) -> tuple[Manifest, dict[str, Any]]:
    """Return a checkpoint's manifest and state, on the CPU.

    Only tensors and plain values are read, no code. The hash is checked before anything is parsed. The tensors' names
    and shapes are checked before memory is taken for them, and their dtypes before they are used.

    Args:
        path: of the manifest.
        recipe: as for `load_last_good`.
        like: the same.

    Raises:
        RefusedError: it cannot be used; the text says why.
    """
    try:
        manifest = read_manifest(path)
        _check_origin(manifest, recipe)
        data = data_path(path, manifest)
        _check_hash(data, manifest)
        return manifest, _read_state(data, manifest, like)
    except OSError as error:
        msg = f"it cannot be read ({error.strerror or error})"
        raise RefusedError(msg) from error
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise RefusedError(str(error)) from error


def _check_origin(manifest: Manifest, recipe: Recipe) -> None:
    origin = from_toml(manifest.recipe, source="its recipe")
    if (changed := differences(origin, recipe)) and not is_longer(origin, recipe):
        msg = f"it is of another recipe's run, with {'; '.join(changed)}"
        raise RefusedError(msg)
    if manifest.randomness != SCHEME:
        msg = f"its random numbers are drawn by '{manifest.randomness:.40}', and here by '{SCHEME}'"
        raise RefusedError(msg)


def _check_hash(path: Path, manifest: Manifest) -> None:
    with path.open("rb") as file:
        size_bytes = file.seek(0, 2)
        if size_bytes != manifest.size_bytes:
            msg = f"it has {size_bytes:,} bytes instead of {manifest.size_bytes:,}"
            raise RefusedError(msg)
        file.seek(0)
        if file_digest(file, "sha256").hexdigest() != manifest.sha256:
            msg = "its SHA-256 is not the one in its manifest: its bytes have changed"
            raise RefusedError(msg)


def _read_state(path: Path, manifest: Manifest, like: Like) -> dict[str, Any]:
    with safe_open(path, framework="pt") as file:
        if like is not None:
            _check_tensors(file, like)
        unread = set(file.keys())

        def read(name: str) -> Tensor:
            """Return a tensor, once: a damaged structure that repeats it could take memory without end."""
            if name not in unread:
                msg = "its structure is damaged"
                raise RefusedError(msg)
            unread.remove(name)
            tensor: Tensor = file.get_tensor(name)
            return tensor.clone()  # the file itself is only mapped

        state = unflatten(json.loads((file.metadata() or {}).get("structure", "null")), read)
    if isinstance(state, dict) and OLD_RESULTS in state:
        state["results"] = state.pop(OLD_RESULTS)
    if isinstance(state, dict):  # of a compiled model, as an older version has written it
        state |= {
            name: with_plain_names(state[name]) for name in ("model", "average") if isinstance(state.get(name), dict)
        }
    _check_state(state, manifest, like)
    whole: dict[str, Any] = state
    return whole


def _check_state(state: Any, manifest: Manifest, like: Like) -> None:  # noqa: ANN401 - from a file
    """Refuse what is not the state of a training, or is that of another model."""
    is_whole = isinstance(state, dict) and all(isinstance(state.get(name), kind) for name, kind in KINDS.items())
    if not is_whole or len(state["results"]) != manifest.epochs:
        msg = "it does not hold the state of a training"
        raise RefusedError(msg)
    for name, tensor in (like or {}).items():
        found = state["model"].get(name)
        if not isinstance(found, Tensor) or found.shape != tensor.shape or found.dtype != tensor.dtype:
            dtype = getattr(found, "dtype", None)
            msg = f"its '{name}' is of {dtype} instead of {tensor.dtype}"
            raise RefusedError(msg)


def _check_tensors(file: Any, like: Mapping[str, Tensor]) -> None:  # noqa: ANN401 - safetensors' open file
    """Compare the names and shapes in the file's header with those of the model."""
    prefix = "/model/"
    names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
    found = {plain_name(name.removeprefix(prefix)): name for name in names}
    if found.keys() != like.keys():
        msg = f"its model has other tensors: {', '.join(sorted(found.keys() ^ like.keys())[:3])}"
        raise RefusedError(msg)
    for name, tensor in like.items():
        shape = file.get_slice(found[name]).get_shape()
        if list(shape) != list(tensor.shape):
            msg = f"its '{name}' has the shape {list(shape)} instead of {list(tensor.shape)}"
            raise RefusedError(msg)
