"""The average of the weights: its formula, its evaluation in a run, and its restoring."""

from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bigbatch.checkpoint.loading import load_last_good
from bigbatch.checkpoint.weights import WeightsHashes, weights_sha256
from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.optim.weight_average import WeightAverage
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.reduction.options import AggregationOptions
from bigbatch.runs.folder import RunFolder
from bigbatch.step.result import StepResult
from bigbatch.training.build import build
from bigbatch.training.loop import Limit, Loop
from bigbatch.training.run_evaluation import evaluate_run, export_run
from bigbatch.training.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
AVERAGED = with_settings(
    digits(),
    [
        "minibatch_size=256",
        "epochs=2",
        "model.width=4",
        "optimizer.name=lamb",
        "scaling.rule=none",
        "average.decay=0.98",
    ],
)


class Tied(nn.Module):
    """One weight in two places, and one that does not train."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.frozen = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.frozen.requires_grad_(requires_grad=False)


def test_it_is_the_exponential_average_of_every_trainable_parameter():
    model = Tied()
    average = WeightAverage(model, decay=0.9)
    expected = model.first.weight.detach().double()
    for seed in range(5):
        nn.init.normal_(model.first.weight, generator=torch.Generator().manual_seed(seed))
        average.update()
        expected = 0.9 * expected + 0.1 * model.first.weight.detach().double()
    own = {name: value.clone() for name, value in model.state_dict().items()}
    assert average.state().keys() == {"first.weight", "second.weight"}
    with average.applied():
        torch.testing.assert_close(model.second.weight.detach().double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(model.state_dict()["first.weight"], average.state()["second.weight"])
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())


def test_the_model_has_its_own_weights_again_after_an_error():
    model = Tied()
    average = WeightAverage(model, decay=0.0)
    before = model.first.weight.detach().clone()
    nn.init.zeros_(model.first.weight)
    with pytest.raises(ZeroDivisionError), average.applied():
        1 / 0  # noqa: B018 - the error
    with average.applied():
        assert torch.equal(model.first.weight, before)
    assert not model.first.weight.any()


def test_what_is_restored_must_be_of_the_model():
    average = WeightAverage(Tied(), decay=0.5)
    other = WeightAverage(Tied(), decay=0.5)
    average.restore(other.state())
    assert torch.equal(average.state()["first.weight"], other.state()["first.weight"])
    for state in ({}, {"first.weight": torch.zeros(3)}, {"first.weight": torch.zeros(2, 2).double()}):
        with pytest.raises(InputError, match=r"the checkpoint has no average of 'first.weight'"):
            average.restore(state)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
    return folder, train(AVERAGED, folder, MACHINE)


def test_a_run_that_is_interrupted_within_an_epoch_goes_on_to_the_same_bits(run, tmp_path):
    folder = RunFolder(tmp_path / "parts")
    train(AVERAGED, folder, MACHINE, stop_after_iteration=3)
    train(AVERAGED, folder, MACHINE, stop_after_iteration=7)
    resumed = train(AVERAGED, folder, MACHINE)
    for result in ("weights_sha256", "average_sha256", "result"):
        assert getattr(resumed, result) == getattr(run[1], result) is not None
    assert run[1].weights_sha256 != run[1].average_sha256


def test_averaging_changes_nothing_of_the_training(run, tmp_path):
    plain = train(with_settings(AVERAGED, ["average.decay=0"]), RunFolder(tmp_path / "plain"), MACHINE)
    assert plain.weights_sha256 == run[1].weights_sha256
    assert plain.average_sha256 is None


def test_the_average_is_what_is_evaluated_and_exported(run, tmp_path):
    folder, summary = run
    result = evaluate_run(folder, MACHINE)
    assert result.scores.value == summary.final_result
    exported = export_run(folder, tmp_path / "average.safetensors")
    for found in (result, exported):
        assert found.hashes == WeightsHashes(summary.weights_sha256, summary.average_sha256)
    tensors = load_file(tmp_path / "average.safetensors")
    assert weights_sha256(tensors) == summary.average_sha256
    _, state = load_last_good(folder.checkpoints, recipe=AVERAGED, like=None)[0]
    assert all(torch.equal(tensors[name], value) for name, value in state["average"].items())
    statistics = [name for name in tensors if name.endswith("running_mean")]
    assert statistics
    assert all(torch.equal(tensors[name], state["model"][name]) for name in statistics)


def test_the_command_says_that_it_is_the_average(run, capsys, tmp_path):
    assert not main(["export", str(run[0].path), str(tmp_path / "average.safetensors")])
    printed = capsys.readouterr().out
    assert f"average_sha256    {run[1].average_sha256}" in printed
    assert "averaged weights, after 10 iterations" in printed
    assert (tmp_path / "average.safetensors").exists()


def test_a_skipped_update_does_not_count_and_evaluation_takes_the_average(monkeypatch):
    recipe = with_settings(AVERAGED, ["launch.on_nonfinite=skip"])
    training = build(recipe, MACHINE, aggregation=AggregationOptions(), loader_workers=0)
    recorder = SimpleNamespace(
        is_state_checked=True, display=SimpleNamespace(say=lambda _: None), requests=lambda **_: frozenset()
    )
    loop = Loop(training, recorder, SimpleNamespace(received=None), Limit())
    minibatches = training.minibatches.epoch(0)
    loop.step(next(minibatches))
    before = [average.clone() for average in training.average.averages]
    with monkeypatch.context() as patched:
        patched.setattr(StepResult, "is_finite", False)
        loop.step(next(minibatches))
    assert all(torch.equal(a, b) for a, b in zip(before, training.average.averages, strict=True))
    loop.step(next(minibatches))
    assert not all(torch.equal(a, b) for a, b in zip(before, training.average.averages, strict=True))
    seen = []
    monkeypatch.setattr(
        "bigbatch.training.evaluation.Evaluation.scores",
        lambda _, model, *__: seen.append(weights_sha256(model.state_dict())) or SimpleNamespace(value=1.0),
    )
    loop.evaluate()
    assert seen == [training.hashes().average_sha256]
