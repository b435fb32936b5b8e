"""Checkpoints are whole, and run no code."""

import hashlib
import os
import pickle

import numpy as np
import pytest
import torch

from bigbatch.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint, weights_sha256, write_atomically
from bigbatch.errors import InputError


def test_the_last_two_are_kept_and_the_newest_is_found(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for epoch in (1, 2, 9, 10, 11):
        save_checkpoint(tmp_path, {"epoch": epoch, "weights": torch.full((3,), float(epoch))}, epoch=epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-0010.pt", "epoch-0011.pt"]
    state = load_checkpoint(latest_checkpoint(tmp_path))
    assert state["epoch"] == 11
    assert state["weights"].tolist() == [11.0] * 3
    for epoch in (9999, 10_000):
        save_checkpoint(tmp_path, {"epoch": epoch}, epoch=epoch)
    assert load_checkpoint(latest_checkpoint(tmp_path))["epoch"] == 10_000


def test_state_that_could_never_be_loaded_is_refused_when_it_is_saved(tmp_path):
    save_checkpoint(tmp_path, {"epoch": 1}, epoch=1)
    with pytest.raises(InputError, match="cannot be saved safely"):
        save_checkpoint(tmp_path, {"optimizer": Payload()}, epoch=2)
    assert load_checkpoint(latest_checkpoint(tmp_path))["epoch"] == 1


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


class Payload:
    def __reduce__(self):
        return os.system, ("touch owned",)


def test_files_that_are_no_checkpoint_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = save_checkpoint(tmp_path, {"weights": torch.zeros(100)}, epoch=1)
    whole = path.read_bytes()
    for content in (b"", b"junk", whole[: len(whole) // 2], pickle.dumps(Payload())):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot load the checkpoint"):
            load_checkpoint(path)
    torch.save({"evil": Payload()}, path)
    with pytest.raises(InputError, match="cannot load the checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="no checkpoint of this version"):
        load_checkpoint(path)


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
    assert len(weights_sha256({"half": torch.zeros(3, dtype=torch.bfloat16)})) == 64
