"""The seconds that a training waits for its samples are recorded, and where they are many, a line says what helps."""

import time
from dataclasses import replace

import pytest
import torch
from torch.utils.data import TensorDataset

from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe import Data
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training import data_wait
from bigbatch.training.data_wait import DataWait
from bigbatch.training.trainer import train


class Slow(TensorDataset):
    """Takes ten milliseconds for each sample."""

    def __getitem__(self, index):
        time.sleep(0.01)
        return super().__getitem__(index)


def slow_data():
    samples = torch.zeros(32, 1, 8, 8), torch.arange(32) % 10
    training, validation = Slow(*samples), TensorDataset(*samples)
    training.classes = list("0123456789")
    return training, validation


RECIPE = replace(digits(), data=Data("test_data_wait:slow_data"), minibatch_size=16, worker_minibatch_size=16, epochs=2)


@pytest.mark.parametrize(("loader_workers", "helps"), [(0, "--loader-workers 2"), (1, "more than 1 loader_workers")])
def test_an_epoch_that_waits_says_so_once(tmp_path, monkeypatch, capsys, loader_workers, helps):
    monkeypatch.syspath_prepend(__file__.rpartition("/")[0])
    monkeypatch.setattr(data_wait, "LEAST_SECONDS", 0.1)
    machine = Machine(Processes(), torch.device("cpu"), 1)
    train(RECIPE, RunFolder(tmp_path / "run"), machine, loader_workers=loader_workers)
    epochs = RunFolder(tmp_path / "run").read_epochs()
    assert len(epochs) == 2
    assert all(0.05 < epoch.data_seconds <= epoch.seconds for epoch in epochs)
    said = [line for line in capsys.readouterr().out.splitlines() if "waiting for samples" in line]
    assert len(said) == 1
    assert helps in said[0]


def test_what_waits_little_or_shortly_says_nothing():
    assert DataWait().advice(19.0, 100.0, loader_workers=0) is None
    assert DataWait().advice(4.9, 5.0, loader_workers=0) is None
    assert "21% of the epoch" in DataWait().advice(21.0, 100.0, loader_workers=0)


def test_only_the_time_until_a_batch_is_there_counts():
    wait = DataWait()
    for _ in wait.timed([1, 2, 3]):
        time.sleep(0.05)
    assert wait.end_epoch() < 0.05
    assert wait.end_epoch() == 0.0
