"""A GPU's state is copied into memory that is kept; its file is the same. On a CPU, plain memory takes its place."""

import hashlib

import pytest
import torch
from torch import nn

from bigbatch.checkpoint import staging
from bigbatch.checkpoint.manifest import Position
from bigbatch.checkpoint.saving import Snapshot, save_checkpoint
from bigbatch.checkpoint.staging import Staging


@pytest.fixture
def on_gpu(monkeypatch):
    """Let tensors of a CPU take the way of a GPU's; return what was waited for."""
    waited = []
    monkeypatch.setattr(staging, "is_on_gpu", lambda tensor: tensor.device.type == "cpu")
    monkeypatch.setattr(staging, "pinned", lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
    monkeypatch.setattr(staging, "arrival", lambda: lambda: waited.append(True))
    return waited


def train(device="cpu"):
    """Return a model in channels_last and its optimizer, after one update."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(2, 3, 8, 8, device=device)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def state_of(model, optimizer):
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}


def digest(folder, snapshot):
    folder.mkdir()
    save_checkpoint(folder, snapshot, keep=1)
    (file,) = folder.glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def snapshot_of(state, kept=None):
    return Snapshot.of(state, Position(1, 16, 0, None, "lower"), "", kept)


def test_the_file_is_the_same_and_is_written_when_all_has_arrived(tmp_path, on_gpu):
    state = state_of(*train())
    staged = snapshot_of(state, Staging())
    assert not on_gpu
    found = digest(tmp_path / "staged", staged)
    assert on_gpu == [True]
    staging.is_on_gpu = lambda _: False
    assert found == digest(tmp_path / "plain", snapshot_of(state))


def test_memory_is_kept_and_shared_with_nothing(on_gpu):
    model, optimizer = train()
    kept = Staging()
    before = {path: tensor.data_ptr() for path, tensor in snapshot_of(state_of(model, optimizer), kept).tensors.items()}
    own = {tensor.data_ptr() for tensor in (*model.state_dict().values(), *model.parameters())}
    after = snapshot_of(state_of(model, optimizer), kept).tensors
    assert {path: tensor.data_ptr() for path, tensor in after.items()} == before
    assert not own & set(before.values())
    assert not on_gpu


def test_a_state_that_grows_or_changes_its_shapes_gets_new_memory(on_gpu):
    kept = Staging()
    for tensors in ({"a": torch.ones(2)}, {"a": torch.ones(3), "b": torch.ones(1)}, {"b": torch.ones(1).double()}):
        copies, wait = kept.copy(tensors)
        wait()
        assert copies.keys() == tensors.keys() == kept.kept.keys()
        assert all(torch.equal(copies[name], tensors[name]) for name in tensors)
        assert all(copies[name].dtype == tensors[name].dtype for name in tensors)
    assert len(on_gpu) == 3


@pytest.mark.gpu
def test_a_gpu_is_not_waited_for_and_the_file_is_that_of_its_tensors_on_a_cpu(tmp_path):
    model, optimizer = train("cuda")
    kept = Staging()
    for number in range(2):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            snapshot = snapshot_of(state_of(model, optimizer), kept)
            optimizer.step()  # it writes to what is still copied
        finally:
            torch.cuda.set_sync_debug_mode("default")
        found = digest(tmp_path / f"gpu-{number}", snapshot)
        assert all(tensor.is_pinned() for tensor in kept.kept.values())
        again, _ = train("cuda")
        if number == 0:
            expected = {name: tensor.cpu() for name, tensor in again.state_dict().items()}
            assert all(torch.equal(snapshot.tensors[f"/model/{name}"], tensor) for name, tensor in expected.items())
            first = found
    assert found != first
