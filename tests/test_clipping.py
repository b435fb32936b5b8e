"""Clipping by the norm of the whole gradient."""

import json

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.errors import InputError
from bigbatch.optim.norms import ALIGNMENT_BYTES
from bigbatch.processes.group import Processes
from bigbatch.processes.join import Machine
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.runs.folder import RunFolder
from bigbatch.training.trainer import train

MACHINE = Machine(Processes(), torch.device("cpu"), threads=1)
SIZES = ((), (1,), (7,), (3, 5), (2, 3, 4))


def parameters(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    made = [nn.Parameter(torch.zeros(size, dtype=dtype)) for size in SIZES]
    for parameter in made:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(dtype)
    return [*made, nn.Parameter(torch.zeros(2, dtype=dtype))]  # the last has no gradient


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 5.0, 1e9, float("inf")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
def test_it_is_torchs_clipping(max_norm, dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    norm = bigbatch.clip_gradients(ours, max_norm)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    tolerance = {torch.float64: 1e-14, torch.bfloat16: 2e-2}.get(dtype, 1e-6)
    assert norm.item() == pytest.approx(expected.item(), rel=tolerance)
    for mine, other in zip(ours[:-1], theirs[:-1], strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=tolerance, atol=0)
    assert ours[-1].grad is None


def test_the_bits_do_not_depend_on_where_the_gradients_lie():
    norms = set()
    for offset in range(ALIGNMENT_BYTES // 4):
        moved = parameters(torch.float32)
        for parameter in moved[:-1]:
            buffer = torch.empty(parameter.numel() + offset)
            parameter.grad = buffer[offset:].view(parameter.shape).copy_(parameter.grad)
        norms.add((bigbatch.clip_gradients(moved, 1.0).item(), *moved[4].grad.flatten().tolist()))
    assert len(norms) == 1


def test_a_gradient_that_is_short_enough_keeps_its_bits_and_a_model_may_be_given():
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    before = model.weight.grad.clone()
    assert bigbatch.clip_gradients(model, 100.0).item() == pytest.approx(8**0.5)
    assert torch.equal(model.weight.grad, before)
    assert bigbatch.clip_gradients([], 1.0).item() == 0


def test_what_cannot_be_clipped_is_refused():
    for norm in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="max_norm must be above 0"):
            bigbatch.clip_gradients(parameters(), norm)
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse=False"):
        bigbatch.clip_gradients(table, 1.0)


def trained(folder, *settings):
    recipe = with_settings(digits(), ["minibatch_size=128", "epochs=2", "model.width=4", *settings])
    summary = train(recipe, RunFolder(folder), MACHINE, stop_after_iteration=6)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return summary.weights_sha256, [line.get("gradient_norm") for line in lines if "learning_rate" in line]


@pytest.mark.parametrize("course", [(), ("scaling.rule=adascale",), ("growth.kind=noise-scale", "growth.start=64")])
def test_a_training_clips_and_records_each_norm_before(tmp_path, course):
    free, none = trained(tmp_path / "free", *course)
    loose, norms = trained(tmp_path / "loose", *course, "optimizer.clip_norm=1e6")
    tight, clipped = trained(tmp_path / "tight", *course, "optimizer.clip_norm=0.01")
    assert none == [None] * 6
    assert loose == free != tight
    assert clipped[0] == norms[0] > 0.01
    assert len({*norms}) == 6
