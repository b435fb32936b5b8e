"""Accelerate's adapter steps the schedule once an update, and refuses what cannot be exact."""

import pytest
import torch
from accelerate import Accelerator
from small_trainings import SIZES, WARNINGS, Classifier, hash_of, named, samples
from torch import nn
from torch.utils.data import DataLoader

from bigbatch.errors import InputError
from bigbatch.integrations.accelerate import prepare

pytestmark = pytest.mark.filterwarnings(*WARNINGS)


def prepared(loader=None, *, sizes=SIZES, accelerator=None, **options):
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = loader or DataLoader(samples(), batch_size=2, shuffle=True)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=2 * len(loader))
    return optimizer, *prepare(
        accelerator or Accelerator(cpu=True), model, optimizer, loader, scheduler, **sizes, **options
    )


def test_accelerates_schedule_is_stepped_once_an_update_and_ends_with_the_data():
    loader = DataLoader(samples(50), batch_size=2, shuffle=True, collate_fn=named)
    optimizer, step, minibatches, scheduler = prepared(loader, reference=4, warmup_epochs=1)
    rates = []
    for _ in range(2):
        for minibatch in minibatches:
            step.backward(minibatch)
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    step.close()
    expected = [0.1 * (1 - (u * 25 // 4) / 50) * (1 + 2 * min(1, u / 4)) for u in range(8)]
    assert rates == pytest.approx(expected)
    assert scheduler.get_last_lr() == pytest.approx([0.0])


def test_accelerate_is_refused_what_cannot_be_exact():
    with pytest.raises(InputError, match="gradient_accumulation_steps; a larger minibatch_size accumulates"):
        prepared(accelerator=Accelerator(cpu=True, gradient_accumulation_steps=2))
    with pytest.raises(InputError, match="is a list; give one torch DataLoader"):
        prepared([1, 2])
    _, step, minibatches, _ = prepared()
    with pytest.raises(InputError, match=r"give prepare an objective\(model, batch\)"):
        step.backward(next(iter(minibatches)))
    step.close()


def test_the_lines_of_a_loop_that_compute_the_loss_become_the_objective():
    """They return the worker's mean, as the loop had it."""

    def objective(model, batch):
        images, labels = batch
        return nn.functional.cross_entropy(model.layers(images), labels)

    hashes = set()
    for options in ({"objective": objective}, {"loader": DataLoader(samples(), shuffle=True, collate_fn=named)}):
        torch.manual_seed(0)
        optimizer, step, minibatches, _ = prepared(**options)
        for minibatch in minibatches:
            step.backward(minibatch)
            optimizer.step()
        step.close()
        hashes.add(hash_of(step.model.state_dict()))
    assert len(hashes) == 1
