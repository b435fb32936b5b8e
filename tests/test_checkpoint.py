"""Checkpoints are whole and run no code, and changed ones are refused."""

import hashlib
import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from damage import data_of, flip_and_cut, iteration_used, payloads, save, state_of
from hypothesis import given
from hypothesis import strategies as st
from kills import kill_in_save
from safetensors import safe_open

from bigbatch.atomic_file import write_atomically
from bigbatch.checkpoint.loading import load_last_good, set_aside
from bigbatch.checkpoint.manifest import Position, iteration_of, list_manifests, read_manifest
from bigbatch.checkpoint.saving import Snapshot, best_checkpoint, remove_leftovers, save_checkpoint
from bigbatch.checkpoint.state import flatten, unflatten
from bigbatch.checkpoint.weights import export_weights, weights_sha256
from bigbatch.checkpoint.writer import MAX_FAILURES, CheckpointWriter
from bigbatch.errors import InputError
from bigbatch.recipe.file import to_toml
from bigbatch.recipe.presets import digits

CPU = torch.device("cpu")
MODEL = {"w": torch.arange(24.0).reshape(2, 3, 4), "steps": torch.tensor(7)}


def snapshot(iteration, error=None, model=MODEL):
    position = Position(iteration, 16 * iteration, 0, error, "lower")
    return Snapshot.of(state_of_a_training(model), position, to_toml(digits()))


def state_of_a_training(model, optimizer=None, **changes):
    rest = {"buffers": {}, "results": [], "epoch_loss": 0.0, "epoch_updates": 0, "course": {}, "seconds": 0.0}
    return {"model": model, "optimizer": optimizer or {"state": {}}, **rest, **changes}


def load(folder, like=MODEL, recipe=None):
    return load_last_good(folder, recipe=recipe or digits(), like=like)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
NESTS = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers() | st.text(max_size=3), inner, max_size=3)
    ),
)


@given(NESTS)
def test_any_nest_of_plain_values_comes_back_as_it_was(nest):
    structure, tensors = flatten(nest)
    assert not tensors
    assert repr(unflatten(structure, tensors.__getitem__)) == repr(nest)  # repr: NaN is not equal to itself


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool])
def test_tensors_come_back_with_their_bits_dtype_and_layout(tmp_path, dtype):
    images = torch.randn(2, 3, 4, 5).to(dtype)
    momentum = images.contiguous(memory_format=torch.channels_last)
    optimizer = {"state": {0: {"m": momentum, "t": images.transpose(0, 1)}}}
    state = state_of_a_training({"w": images}, optimizer)
    save_checkpoint(tmp_path, Snapshot.of(state, Position(1, 16, 0, None, "lower"), to_toml(digits())), keep=2)
    (_, found), _ = load(tmp_path, like={"w": images})
    for name in ("m", "t"):
        before, after = state["optimizer"]["state"][0][name], found["optimizer"]["state"][0][name]
        assert (after.dtype, after.shape, after.stride()) == (dtype, before.shape, before.stride())
        assert torch.equal(after, before)
    expanded = torch.zeros(3).expand(1000, 3)
    structure, tensors = flatten(expanded)
    assert unflatten(structure, tensors.__getitem__).shape == (1000, 3)


def test_what_was_copied_is_saved_whatever_training_does_then(tmp_path):
    model = {"w": torch.zeros(3)}
    copied = snapshot(1, model=model)
    model["w"] += 1
    save_checkpoint(tmp_path, copied, keep=2)
    (_, state), _ = load(tmp_path, like=model)
    assert state["model"]["w"].tolist() == [0, 0, 0]


def test_the_newest_and_the_best_are_kept(tmp_path):
    assert load(tmp_path) == (None, {})
    assert best_checkpoint(tmp_path) is None
    for iteration, error in ((10, 5.0), (20, 3.0), (25, None), (30, 3.0), (40, 4.0), (45, None)):
        save_checkpoint(tmp_path, snapshot(iteration, error), keep=2)
    assert [read_manifest(path).iteration for path in list_manifests(tmp_path)] == [45, 40, 20]
    assert read_manifest(best_checkpoint(tmp_path)).iteration == 20
    assert len(list(tmp_path.iterdir())) == 6
    assert load(tmp_path)[0][0].samples_consumed == 45 * 16


def test_state_that_could_never_be_loaded_is_refused_when_it_is_copied():
    with pytest.raises(InputError, match=r"cannot be saved safely; keep plain values in it \(optimizer/x/0 is a set\)"):
        flatten({"optimizer": {"x": [{1}]}})
    with pytest.raises(InputError, match="cannot be saved safely"):
        flatten({(1, 2): 3})
    with pytest.raises(InputError, match="is a float64"):
        flatten({"a": np.float64(1)})


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_what_killed_writers_have_left_is_swept_and_nothing_else(tmp_path):
    save_checkpoint(tmp_path, snapshot(3), keep=2)
    whole = set(tmp_path.iterdir())
    (tmp_path / "thesis.doc").touch()
    names = (".iteration-000000004.safetensors.123.tmp", ".tmpaBc123", "iteration-000000004-01234567.safetensors")
    for stale in (*names, "iteration-000000003-01234567.safetensors"):
        (tmp_path / stale).touch()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == whole | {tmp_path / "thesis.doc"}


def test_a_manifest_whose_data_is_gone_is_refused_and_not_forgotten(tmp_path):
    """Training must not start anew without a word."""
    data_of(save_checkpoint(tmp_path, snapshot(3), keep=2)).unlink()
    remove_leftovers(tmp_path)
    with pytest.raises(InputError, match="iteration-000000003 is not used: it cannot be read"):
        load(tmp_path)


def test_every_damage_is_refused_and_the_one_before_is_used():
    row = flip_and_cut(60, 20)
    assert row.is_kept, row


def test_hostile_files_run_nothing_and_take_no_memory():
    row = payloads(megabytes=20)
    assert row.is_kept, row


def test_a_kill_inside_a_save_leaves_the_last_one_and_nothing_stale():
    row = kill_in_save(25, megabytes=1)
    assert row.is_kept, row


def test_refused_checkpoints_are_told_and_set_aside(tmp_path):
    for iteration in (1, 2):
        save_checkpoint(tmp_path, snapshot(iteration), keep=2)
    newest = list_manifests(tmp_path)[0]
    data_of(newest).write_bytes(data_of(newest).read_bytes()[:-1])
    (manifest, _), refused = load(tmp_path)
    assert manifest.iteration == 1
    assert "iteration-000000002 is not used: it has" in refused[newest]
    set_aside(tmp_path, refused)
    assert load(tmp_path)[1] == {}
    assert len(list(tmp_path.glob("refused-*"))) == 2, "nothing is lost"
    with pytest.raises(InputError, match="it is of another recipe's run, with seed: 0 -> 1; put a whole one back"):
        load(tmp_path, recipe=replace(digits(), seed=1))
    with pytest.raises(InputError, match=r"its 'w' has the shape \[2, 3, 4\] instead of \[5\]"):
        load(tmp_path, like={**MODEL, "w": torch.zeros(5)})
    with pytest.raises(InputError, match="its model has other tensors: more"):
        load(tmp_path, like={**MODEL, "more": torch.zeros(5)})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (state_of_a_training({**MODEL, "w": MODEL["w"].double()}), "its 'w' is of torch.float64 instead of torch.flo"),
        (state_of_a_training(MODEL, results=[1.0]), "does not hold the state of a training"),
        (state_of_a_training(MODEL, epoch_loss=None), "does not hold the state of a training"),
        ({"model": MODEL}, "does not hold the state of a training"),
    ],
)
def test_what_is_no_state_of_this_training_is_refused(tmp_path, state, reason):
    save_checkpoint(tmp_path, Snapshot.of(state, Position(1, 16, 0, None, "lower"), to_toml(digits())), keep=2)
    with pytest.raises(InputError, match=reason):
        load(tmp_path)


def test_a_save_of_the_same_iteration_that_is_killed_leaves_the_one_before_whole(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, snapshot(5, model={"w": torch.tensor(1.0)}), keep=1)
    monkeypatch.setattr(
        "bigbatch.checkpoint.saving.write_atomically", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):  # after its data, before its manifest
        save_checkpoint(tmp_path, snapshot(5, model={"w": torch.tensor(2.0)}), keep=1)
    remove_leftovers(tmp_path)
    (_, state), refused = load(tmp_path, like={"w": torch.tensor(0.0)})
    assert (state["model"]["w"], refused) == (1.0, {})
    assert len(list(tmp_path.iterdir())) == 2


def test_a_save_whose_manifest_has_no_room_leaves_no_data(tmp_path, monkeypatch):
    save_checkpoint(tmp_path, snapshot(5), keep=1)
    before = set(tmp_path.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bigbatch.checkpoint.saving.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, snapshot(6), keep=1)
    assert set(tmp_path.iterdir()) == before


def test_how_a_run_is_launched_and_saved_does_not_make_it_another(tmp_path):
    save_checkpoint(tmp_path, snapshot(1), keep=2)
    other = replace(digits(), launch=replace(digits().launch, max_restarts=9))
    assert load(tmp_path, recipe=other)[0]


def test_writing_goes_on_in_the_background(tmp_path, monkeypatch):
    go, saving = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor):
        saving.set()
        assert go.wait(10)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.submit(snapshot(1))
    assert saving.wait(10)
    assert writer.is_busy
    assert list_manifests(tmp_path) == []
    go.set()
    writer.submit(snapshot(2))  # waits for the first
    writer.close()
    assert not writer.is_busy
    assert len(list_manifests(tmp_path)) == 2


def test_a_full_disk_is_told_and_counted_until_there_is_room_again(tmp_path, monkeypatch):
    writer = CheckpointWriter(tmp_path, keep=2)
    writer.submit(snapshot(1))
    writer.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        for iteration in range(2, 2 + MAX_FAILURES):
            writer.submit(snapshot(iteration))
        writer.wait()
    assert writer.num_failures == MAX_FAILURES
    assert "the checkpoint of iteration 2 could not be saved (No space left on device); training" in writer.warnings[0]
    assert len(list(tmp_path.iterdir())) == 2
    writer.submit(snapshot(9))
    writer.close()
    assert writer.num_failures == 0
    assert load(tmp_path)[0][0].iteration == 9


def test_a_checkpoint_can_be_written_again_at_the_same_iteration(tmp_path):
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path, snapshot(5, model={"w": torch.tensor(value)}), keep=2)
    (_, state), refused = load(tmp_path, like={"w": torch.tensor(0.0)})
    assert (state["model"]["w"], refused) == (2.0, {})


def test_the_weights_go_into_a_file_that_other_programs_read(tmp_path):
    target = tmp_path / "weights.safetensors"
    export_weights(MODEL, target, metadata={"origin": "test"})
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"origin": "test"}
        assert {name: file.get_tensor(name).tolist() for name in file.keys()} == {  # noqa: SIM118 - no mapping
            name: tensor.tolist() for name, tensor in MODEL.items()
        }
    with pytest.raises(InputError, match="cannot write the weights to"):
        export_weights(MODEL, tmp_path / "none" / "w", metadata={})


def test_the_hash_is_what_the_design_says():
    state = {
        "b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]).t(),
        "a": torch.tensor([1, 2]),
        "norm.num_batches_tracked": torch.tensor(5),
    }
    digest = hashlib.sha256()
    digest.update(b"a\0torch.int64\0(2,)\0" + np.array([1, 2], "<i8").tobytes())
    digest.update(b"b\0torch.float32\0(2, 2)\0" + np.array([1, 3, 2, 4], "<f4").tobytes())
    assert weights_sha256(state) == digest.hexdigest()
    assert weights_sha256(state | {"a": torch.tensor([1, 3])}) != digest.hexdigest()
    assert weights_sha256(state | {"a": torch.tensor([1, 2], dtype=torch.int32)}) != digest.hexdigest()
    assert weights_sha256({"s": torch.tensor(1.0)}) != weights_sha256({"s": torch.tensor([1.0])})
    assert weights_sha256({"s": torch.arange(2.0)[::2]}) == weights_sha256({"s": torch.tensor([0.0])})
    assert len(weights_sha256({"half": torch.zeros(3, dtype=torch.bfloat16)})) == 64


def test_the_harness_of_damages_would_notice(tmp_path):
    """The control: this test finds a checkpoint with other weights than it claims."""
    manifest = save(tmp_path, 1)
    assert iteration_used(tmp_path) == 1
    lie = Snapshot.of(state_of(5.0), Position(1, 16, 0, None, "lower"), to_toml(digits()))
    save_checkpoint(tmp_path, lie, keep=2)
    assert manifest.exists()
    assert iteration_used(tmp_path) == -1


def test_a_manifest_of_the_format_before_is_read_as_an_error(tmp_path):
    path = save_checkpoint(tmp_path, snapshot(1, error=7.5), keep=2)
    table = json.loads(path.read_text())
    del table["better"], table["checksum"]
    old = {("validation_error" if name == "result" else name): value for name, value in table.items()} | {"format": 3}
    checksum = hashlib.sha256(json.dumps(old).encode()).hexdigest()
    path.write_text(json.dumps({**old, "checksum": checksum}, indent=2) + "\n")
    manifest = read_manifest(path)
    assert (manifest.result, manifest.better, manifest.iteration) == (7.5, "lower", 1)
    path.write_text(path.read_text().replace("7.5", "6.5"))
    with pytest.raises(ValueError, match="its manifest is damaged"):
        read_manifest(path)


@pytest.mark.parametrize(("better", "best"), [("lower", 2), ("higher", 3)])
def test_the_best_checkpoint_is_best_in_the_direction_of_its_metric(tmp_path, better, best):
    for iteration, result in ((1, 5.0), (2, 4.0), (3, 6.0), (4, 5.0), (5, 6.0)):
        position = Position(iteration, 16 * iteration, 0, result, better)
        save_checkpoint(tmp_path, replace(snapshot(iteration), position=position), keep=1)
    assert iteration_of(best_checkpoint(tmp_path)) == best
    assert sorted(map(iteration_of, list_manifests(tmp_path))) == [best, 5]
