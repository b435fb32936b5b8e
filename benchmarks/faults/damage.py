"""Checkpoints that are not what they were: flipped bits, cut files, others' files, files that would run or grow."""

import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from trial import Row

from bigbatch.checkpoint.loading import load_last_good
from bigbatch.checkpoint.manifest import Position, data_path, list_manifests, read_manifest
from bigbatch.checkpoint.saving import Snapshot, save_checkpoint
from bigbatch.errors import InputError
from bigbatch.recipe.file import to_toml, with_settings
from bigbatch.recipe.presets import digits

RECIPE = digits()
CPU = torch.device("cpu")


def state_of(value: float, size: int = 4096) -> dict[str, Any]:
    """Return a small training's state."""
    value = float(value)
    model = {"w": torch.full((size,), value), "b": torch.arange(7.0)}
    optimizer = {"state": {0: {"momentum_buffer": torch.full((size,), value)}}}
    rest = {"buffers": {}, "results": [], "epoch_loss": 0.0, "epoch_updates": 0, "course": {}, "seconds": 0.0}
    return {"model": model, "optimizer": optimizer, **rest}


def data_of(path: Path) -> Path:
    """Return the data that a manifest describes."""
    return data_path(path, read_manifest(path))


def save(folder: Path, iteration: int, recipe: str = to_toml(RECIPE), size: int = 4096) -> Path:
    """Save a checkpoint whose weights are its iteration."""
    snapshot = Snapshot.of(state_of(iteration, size), Position(iteration, 16 * iteration, 0, None, "lower"), recipe)
    return save_checkpoint(folder, snapshot, keep=2)


def iteration_used(folder: Path, size: int = 4096) -> int:
    """Return the iteration of the checkpoint that is used, -1 if its weights are not that iteration's."""
    like = {"w": torch.empty(size, device="meta"), "b": torch.empty(7, device="meta")}
    found, _ = load_last_good(folder, recipe=RECIPE, like=like)
    if found is None:
        return 0
    manifest, state = found
    return manifest.iteration if bool((state["model"]["w"] == manifest.iteration).all()) else -1


def damaged(harm: Callable[[Path], None]) -> int:
    """Save the iterations 1 and 2, harm the second, and return which one is used."""
    with TemporaryDirectory() as name:
        save(Path(name), 1)
        harm(save(Path(name), 2))
        return iteration_used(Path(name))


def flip_and_cut(num_flips: int, num_cuts: int, *, seed: int = 0) -> Row:
    """Flip random bits and cut at random places, in data and manifests; put others' files in their place."""
    chance = random.Random(seed)

    def some_file(manifest: Path) -> Path:
        return chance.choice([manifest, data_of(manifest), data_of(manifest)])

    def flip(manifest: Path) -> None:
        path = some_file(manifest)
        content = bytearray(path.read_bytes())
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)

    def cut(manifest: Path) -> None:
        path = some_file(manifest)
        path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])

    used = [damaged(flip) for _ in range(num_flips)] + [damaged(cut) for _ in range(num_cuts)]
    used += [damaged(harm) for harm in (swap, of_another_recipe, of_another_iteration, foreign, with_another_model)]
    return Row(
        f"{num_flips} random bit flips, {num_cuts} truncations, swapped and foreign files",
        "all refused, the previous checkpoint used",
        f"{used.count(1)} of {len(used)} refused, and the previous one used",
        used.count(1) == len(used),
    )


def swap(manifest: Path) -> None:
    """Put the data of the older checkpoint in the place of the newer one's."""
    newer, older = (data_of(path) for path in list_manifests(manifest.parent))
    shutil.copyfile(older, newer)


def of_another_recipe(manifest: Path) -> None:
    """Write a whole checkpoint of a run with another seed."""
    save(manifest.parent, 2, to_toml(with_settings(RECIPE, ["seed=1"])))


def of_another_iteration(manifest: Path) -> None:
    """Rename iteration 2 to iteration 9."""
    for path in (manifest, data_of(manifest)):
        path.rename(path.with_name(path.name.replace("iteration-000000002", "iteration-000000009")))


def foreign(manifest: Path) -> None:
    """Put another program's file there."""
    torch.save({"w": torch.zeros(3)}, data_of(manifest))
    vouch_for(manifest)


def with_another_model(manifest: Path) -> None:
    """Save the state of a model of another shape."""
    save(manifest.parent, 2, size=100)


def vouch_for(manifest: Path) -> None:
    """Make the manifest say that the data is whole: as somebody would who means harm."""
    data = data_of(manifest)
    content = data.read_bytes()
    lie = replace(read_manifest(manifest), sha256=sha256(content).hexdigest(), size_bytes=len(content))
    manifest.write_text(lie.to_json())
    data.rename(data_path(manifest, lie))


class Payload:
    """Runs a command where pickle is allowed to."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        """Return what pickle would call."""
        return os.system, ("touch owned",)


def hostile_headers() -> dict[str, bytes]:
    """Return the beginnings of safetensors files that lie about what follows, and pickles."""

    def header(table: object, data: bytes = b"") -> bytes:
        text = json.dumps(table).encode()
        return len(text).to_bytes(8, "little") + text + data

    big = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    nest = '{"list": [' * 100_000
    tensors = {"/model/w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    return {
        "a pickle that runs a command": pickle.dumps(Payload()),
        "a tensor of 4 TiB": header({"/model/w": big}),
        "a shape of 2^60 elements over 4 bytes": header({"/model/w": {**big, "shape": [1 << 60]}}, b"abcd"),
        "a header of 2^60 bytes": (1 << 60).to_bytes(8, "little") + b"{}",
        "negative offsets": header({"/model/w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"abcd"),
        "a structure nested 100,000 deep": header({**tensors, "__metadata__": {"structure": nest}}, b"abcd"),
        "one tensor named a million times": header(
            {
                **tensors,
                "__metadata__": {"structure": json.dumps({"list": [{"tensor": "/model/w"}] * 1_000_000})},
            },
            b"abcd",
        ),
        "strides of 2^60": header(
            {
                **tensors,
                "__metadata__": {"structure": json.dumps({"tensor": "/model/w", "strides": [1 << 60]})},
            },
            b"abcd",
        ),
    }


def payloads(*, megabytes: int = 100) -> Row:
    """Load hostile files in a process of their own, with manifests that vouch for them; watch its memory."""
    with TemporaryDirectory() as name:
        program = [sys.executable, __file__, name, str(megabytes)]
        done = subprocess.run(program, check=True, capture_output=True, text=True, cwd=name)
        used, peak = json.loads(done.stdout.splitlines()[-1])
        is_owned = (Path(name) / "owned").exists()
    wrong = [kind for kind, iteration in used.items() if iteration != 1]
    limit = 2 * megabytes + 200
    return Row(
        f"pickle payload, giant shapes: {len(used)} kinds, each with a manifest that vouches for it",
        "nothing executed, memory within 2x the state + 200 MB",
        f"{'EXECUTED' if is_owned else 'nothing executed'}, {len(used) - len(wrong)} of {len(used)} refused and the "
        f"previous one used; {peak:.0f} MB above the start, with a state of {megabytes} MB",
        not is_owned and not wrong and peak <= limit,
    )


def load_hostile_files(folder: Path, megabytes: int) -> tuple[dict[str, int], float]:
    """Return which checkpoint was used beside each hostile file, and the peak of memory in MB above the start."""
    size = megabytes << 17  # two tensors of float32
    save(folder, 1, size=size)
    manifest = save(folder, 2)
    used = {}
    start = peak_megabytes(reset=True)
    for kind, content in hostile_headers().items():
        data_of(manifest).write_bytes(content)
        vouch_for(manifest)
        try:
            used[kind] = iteration_used(folder, size)
        except InputError:
            used[kind] = 0
    return used, peak_megabytes() - start


def peak_megabytes(*, reset: bool = False) -> float:
    """Return the peak of this process's resident memory; `reset` makes it the present."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(json.dumps(load_hostile_files(Path(sys.argv[1]), int(sys.argv[2]))))
