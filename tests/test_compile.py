"""`torch.compile` as a field: one result for any number of processes, plain names, a line for what cannot be."""

import os

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bigbatch.errors import InputError
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.record import read_record
from bigbatch.step.step import Step
from bigbatch.training.run_evaluation import export_run
from bigbatch.training.trainer import train
from test_freezing import MACHINE
from user_models import net

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's own, of itself
LOSS = nn.CrossEntropyLoss(reduction="none")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Compile anew, whatever was compiled on this machine before."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def step_of(model, *, n=4):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Step(model, LOSS, optimizer, minibatch_size=2 * n, worker_minibatch_size=n, is_compiled=True)


def batches(length, n=4):
    return [(torch.randn(n, length), torch.zeros(n, dtype=torch.long)) for _ in range(2)]


def test_compiled_weights_are_the_same_for_any_number_of_processes(group):
    group("compile_law.py", 2)


def test_a_compiled_training_resumes_to_the_bit_and_has_plain_names(tmp_path):
    settings = ["minibatch_size=32", "epochs=1", "model.name=user_models:net", "model.width=0", "model.compile=true"]
    recipe = with_settings(digits(), settings)
    assert from_toml(to_toml(recipe)) == recipe
    whole = train(recipe, RunFolder(tmp_path / "whole"), MACHINE)
    train(recipe, RunFolder(tmp_path / "parts"), MACHINE, stop_after_iteration=7)
    torch._dynamo.reset()  # as a new process
    parts = train(recipe, RunFolder(tmp_path / "parts"), MACHINE)
    plain = train(with_settings(recipe, ["model.compile=false"]), RunFolder(tmp_path / "plain"), MACHINE)
    assert whole.weights_sha256 == parts.weights_sha256 != plain.weights_sha256
    assert read_record(tmp_path / "whole").summary.recipe["model"]["compile"]
    export_run(RunFolder(tmp_path / "whole"), tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors").keys() == net().state_dict().keys()


class Summed(nn.Module):
    """A model of inputs of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 3)

    def forward(self, x):
        return self.linear(x.sum(1, keepdim=True))


@torch._dynamo.config.patch(recompile_limit=2)
def test_batches_of_many_shapes_are_refused_where_torch_would_stop_to_compile():
    step = step_of(Summed())
    step(batches(3))
    step(batches(4))
    with pytest.raises(InputError, match="too many shapes to compile the model for each; leave model"):
        step(batches(5))


@torch._inductor.config.patch({"cpp.cxx": (os.devnull,)})
def test_a_machine_without_a_compiler_says_so_in_a_line():
    with pytest.raises(InputError, match=r"torch cannot compile the model here \(.*\); leave model.compile out"):
        step_of(Summed())(batches(3))


def test_the_command_says_so_too(bigbatch):
    done = bigbatch("train", "digits", "--set", "model.compile=true", "--processes", 1, CXX=os.devnull)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "torch cannot compile the model here" in done.stderr


class Breaks(Summed):
    """A pass of two graphs."""

    def forward(self, x):
        torch._dynamo.graph_break()
        return super().forward(x)


def test_a_pass_of_two_graphs_trains():
    model = Breaks()
    before = model.linear.weight.clone()
    step_of(model)(batches(3))
    assert not torch.equal(model.linear.weight, before)


def test_a_model_that_its_user_has_compiled_has_plain_names_and_the_same_bits():
    ours, theirs = Summed(), Summed()
    theirs.load_state_dict(ours.state_dict())
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    compiled = torch.compile(theirs, dynamic=False)
    their_step = Step(compiled, LOSS, optimizer, minibatch_size=8, worker_minibatch_size=4)
    minibatch, our_step = batches(3), step_of(ours)
    our_step(minibatch)
    their_step(minibatch)
    assert torch.equal(ours.linear.weight, theirs.linear.weight)
