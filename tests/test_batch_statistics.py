"""Running statistics that are computed anew: the mean over batches, the same for any number of processes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.models.frozen_batch_norm import freeze_batch_norm
from bigbatch.processes.group import Processes
from bigbatch.recipe.presets import digits
from bigbatch.training.batch_statistics import BatchStatistics, statistics_batches
from bigbatch.training.evaluation import Evaluation

DIGITS = ("digits", "--epochs", "2", "--set", "evaluation.statistics_samples=100", "--minibatch-size", "64")


class Noisy:
    """Samples with augmentation: each batch depends on its key."""

    def __len__(self):
        return 50

    def read_batch(self, indices, key):
        generator = torch.Generator().manual_seed(key % 2**60 + int(indices[0]))
        inputs = 5 + torch.randn(len(indices), 3, 4, 4, generator=generator)
        return inputs, torch.from_numpy(indices % 2)


def make_model():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4, momentum=None)]
    return nn.Sequential(*layers, nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def renew(model, samples=24, n=8):
    batches = statistics_batches(50, samples=samples, batch_size=n, seed=3)
    Evaluation.of(digits()).renew_statistics(model, Noisy(), batches, Processes(), seed=9)
    return batches


def test_they_are_the_mean_over_the_batches():
    model = make_model()
    model[1].running_var.fill_(torch.inf)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    batches = renew(model)
    found = [[], [], [], []]
    expected = make_model()
    for batch in batches:
        inputs, _ = Noisy().read_batch(batch.indices, batch.augmentation_key(9))
        first = expected[0](inputs)
        second = expected[3](
            torch.relu(nn.functional.batch_norm(first, None, None, expected[1].weight, expected[1].bias, training=True))
        )
        for values, statistic in zip(
            found,
            (first.mean((0, 2, 3)), first.var((0, 2, 3)), second.mean((0, 2, 3)), second.var((0, 2, 3))),
            strict=True,
        ):
            values.append(statistic.detach().double())
    got = (model[1].running_mean, model[1].running_var, model[4].running_mean, model[4].running_var)
    for values, statistic in zip(found, got, strict=True):
        torch.testing.assert_close(statistic.double(), sum(values) / len(values), rtol=1e-5, atol=1e-6)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    assert changed == {f"{i}.running_{kind}" for i in (1, 4) for kind in ("mean", "var")}
    assert model.training
    assert model[1].momentum == 0.1
    assert model[4].momentum is None
    assert [len(batch.indices) for batch in batches] == [8, 8, 8]


def test_again_they_are_the_same_bits_and_the_generators_stay():
    model = make_model()
    before = torch.get_rng_state()
    renew(model)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(torch.get_rng_state(), before)
    renew(model)
    assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("samples", "sizes"), [(1, 1), (8, 1), (9, 2), (48, 6), (1_000, 6)])
def test_whole_batches_are_taken_as_far_as_there_are_any(samples, sizes):
    batches = statistics_batches(50, samples=samples, batch_size=8, seed=0)
    assert len(batches) == sizes
    assert len(np.unique(np.concatenate([batch.indices for batch in batches]))) == 8 * sizes


def test_a_model_without_any_is_refused():
    for model in (nn.Linear(2, 2), nn.BatchNorm2d(3, track_running_stats=False)):
        with pytest.raises(
            InputError, match=r"evaluation\.statistics_samples: the model trains no batch normalisation"
        ):
            BatchStatistics(model)
    frozen = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    freeze_batch_norm(frozen, ["0"])
    assert BatchStatistics(frozen.train()).norms == [frozen[1]]


def test_a_training_without_any_is_refused_in_a_line(tmp_path, capsys):
    words = [
        *DIGITS,
        "--set",
        "model.name=user_models:net",
        "--set",
        "model.width=0",
        "--output",
        str(tmp_path / "run"),
    ]
    assert main(["train", *words, "--processes", "1"]) == 2
    assert "statistics_samples" in capsys.readouterr().err
    words = ["train", "digits", "--set", "model.name=torch.nn:Flatten", "--set", "model.width=0", "--processes", "1"]
    assert main([*words, "--output", str(tmp_path / "other")]) == 2
    assert "the model Flatten has no parameter to train" in capsys.readouterr().err


def test_any_number_of_processes_gives_the_same_bits(bigbatch, tmp_path):
    runs = {}
    for processes in (1, 2, 3):
        folder = tmp_path / str(processes)
        bigbatch("train", *DIGITS, "--processes", processes, "--output", folder)
        runs[processes] = json.loads((folder / "run.json").read_text())
    assert len({run["weights_sha256"] for run in runs.values()}) == 1
    assert len({run["final_result"] for run in runs.values()}) == 1


def test_training_goes_the_same_way_and_only_the_evaluation_differs(bigbatch, tmp_path):
    lines = {}
    for samples in (0, 100):
        folder = tmp_path / str(samples)
        bigbatch("train", *DIGITS, "--set", f"evaluation.statistics_samples={samples}", "--output", folder)
        found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        lines[samples] = [line for line in found if "loss" in line], [line for line in found if "epoch" in line]
    assert [line["loss"] for line in lines[0][0]] == [line["loss"] for line in lines[100][0]]
    assert [line["validation"] for line in lines[0][1]] != [line["validation"] for line in lines[100][1]]
    folder = tmp_path / "resumed"
    bigbatch("train", *DIGITS, "--stop-after-epoch", "1", "--output", folder, "--processes", "2")
    bigbatch("train", *DIGITS, "--resume", "--output", folder, "--processes", "1")
    whole, resumed = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("100", "resumed"))
    assert whole["weights_sha256"] == resumed["weights_sha256"]
    assert whole["final_result"] == resumed["final_result"]


def test_the_average_gets_statistics_of_its_own(bigbatch, tmp_path):
    folder = tmp_path / "run"
    bigbatch("train", *DIGITS, "--set", "average.decay=0.99", "--output", folder)
    error = json.loads((folder / "run.json").read_text())["final_result"]
    assert json.loads(bigbatch("evaluate", folder, "--json").stdout)["result"] == error


def test_bounds():
    evaluation = digits().evaluation
    for samples in (-1, 2**60):
        with pytest.raises(InputError, match=r"evaluation\.statistics_samples"):
            replace(evaluation, statistics_samples=samples)
