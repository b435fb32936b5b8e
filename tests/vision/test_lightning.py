"""Lightning's adapter takes the steps of a plain loop, logs what all workers found, and refuses the inexact."""

import pytest
import pytorch_lightning as pl
import torch
from small_trainings import QUIET, SIZES, WARNINGS, Module, hash_of, samples
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, WeightedRandomSampler

import bigbatch
from bigbatch.errors import InputError
from bigbatch.integrations.lightning import ExactStrategy, GradientNoise, ScaledRate

pytestmark = pytest.mark.filterwarnings(*WARNINGS)


def fit(module, *, loader=None, strategy=None, **options):
    options = {"max_epochs": 4, "devices": 1, "enable_checkpointing": False} | QUIET | options
    trainer = pl.Trainer(strategy=strategy or ExactStrategy(**SIZES), **options)
    loader = DataLoader(samples(), batch_size=2, shuffle=True) if loader is None else loader
    trainer.fit(module, loader)
    return trainer


def by_hand(rate, *, epochs=4, order=None, **options):
    """Train `Module` in a plain loop with `bigbatch.Step`, and return it and the losses."""

    @bigbatch.objective
    def mean_of_worker(module, batch):
        return bigbatch.Loss(nn.functional.cross_entropy(module.model(batch[0]), batch[1]), 1)

    module = Module()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    with bigbatch.joined():
        minibatches = bigbatch.Minibatches(samples(), order=order, **SIZES)
        with bigbatch.Step(module, mean_of_worker, optimizer, minibatches, **options) as step:
            for minibatch in minibatches.epochs(epochs):
                bigbatch.set_learning_rate(optimizer, rate(step.iteration))
                losses.append(float(step(minibatch)))
    return module, losses


def test_lightning_takes_the_steps_of_a_plain_loop():
    module = Module()
    trainer = fit(module)
    plain, losses = by_hand(lambda iteration: 0.1 if iteration < 8 else 0.1 * 0.1)
    assert hash_of(module.state_dict()) == hash_of(plain.state_dict())
    assert float(trainer.callback_metrics["loss_step"]) == pytest.approx(losses[-1], rel=1e-6)
    assert float(trainer.callback_metrics["loss_epoch"]) == pytest.approx(sum(losses[-4:]) / 4, rel=1e-6)
    assert module.accuracy._update_count == 4 * 4 * 3  # the trial of the first batch is not counted


def test_lightning_by_its_own_ddp_takes_other_steps():
    """The control: what is compared would differ."""
    module = Module()
    fit(module, strategy="ddp")
    assert hash_of(module.state_dict()) != hash_of(by_hand(lambda _: 0.1)[0].state_dict())


@pytest.mark.parametrize(("strategy", "size"), [(None, 12), ("ddp", 2)])
def test_the_rate_is_right_at_the_start_within_the_warmup_and_at_the_end(strategy, size):
    """Also beside plain DDP, and also for what logs the rate; the schedule itself is not touched."""
    module, seen = Module(), []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer, *_):
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = fit(module, strategy=strategy, callbacks=[Look(), ScaledRate(reference=1, warmup_epochs=2)])
    updates = 48 // size
    schedule = [0.1] * 2 * updates + [0.01] * 2 * updates
    factors = [1 + (size - 1) * min(1, iteration / (2 * updates)) for iteration in range(4 * updates)]
    assert module.rates == pytest.approx([rate * factor for rate, factor in zip(schedule, factors, strict=True)])
    assert seen == module.rates
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.001)


def test_the_noise_scale_is_logged_and_goes_on_from_a_checkpoint(tmp_path):
    noise = GradientNoise()
    trainer = fit(Module(), callbacks=[noise], max_steps=6)
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    again = GradientNoise()
    again.load_state_dict(torch.load(tmp_path / "end.ckpt", weights_only=False)["callbacks"]["GradientNoise"])
    assert again.noise == noise.noise
    assert noise.noise.average.variance > 0


class Halves(RandomSampler):
    """A random sampler with an order of its own."""

    def __iter__(self):
        return iter(range(24))


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(samples())


class Adding(Module):
    """Notes when its metric would add what other processes have counted."""

    def training_step(self, batch, batch_idx):
        self.adds_in_training = self.accuracy.distributed_available_fn()
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch):  # noqa: ARG002 - Lightning's
        self.adds_in_validation = self.accuracy.distributed_available_fn()


def test_metrics_add_over_processes_in_training_and_not_in_an_evaluation_of_all_data():
    module = Adding()
    before = module.accuracy.distributed_available_fn
    trainer = pl.Trainer(strategy=ExactStrategy(**SIZES), devices=1, max_epochs=1, enable_checkpointing=False, **QUIET)
    loaders = DataLoader(samples(), batch_size=2, shuffle=True), DataLoader(samples(), batch_size=24)
    trainer.fit(module, *loaders)
    assert module.adds_in_training
    assert not module.adds_in_validation
    assert module.accuracy.distributed_available_fn is before


class Scoring(Module):
    def training_step(self, batch, batch_idx):
        images, labels = batch
        number = self.accuracy(self.model(images), labels)
        self.log_dict({"by_object": self.accuracy, "by_number": number}, on_step=True, on_epoch=False)
        for reduction in ("mean", "min", max, torch.sum):
            name = getattr(reduction, "__name__", reduction)
            by_place = [False, None, True, True]  # prog_bar, logger, on_step, on_epoch
            self.log(name, images.sum(), *by_place, reduce_fx=reduction)
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, *_):
        self.outputs.append(dict(self.trainer.callback_metrics))


def test_what_is_logged_for_each_worker_is_reduced_over_all_as_it_says():
    """Also what a metric object found for a worker; and options by their place."""
    module = Scoring()
    trainer = fit(module)
    assert len(module.outputs) == 16
    assert all(logged["by_object"] == logged["by_number"] for logged in module.outputs)
    counts = [round(12 * float(logged["by_object"])) for logged in module.outputs]
    assert any(count % 3 for count in counts)  # of 12 samples, not of the last worker's 4
    for logged in module.outputs:
        assert logged["min_step"] < logged["mean_step"] < logged["max_step"]
        assert float(logged["sum_step"]) == pytest.approx(3 * float(logged["mean_step"]), rel=1e-5)
    assert trainer.callback_metrics["max_epoch"] == max(logged["max_step"] for logged in module.outputs[-4:])


class Listing(Module):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        self.outputs.append(loss.detach())
        return loss


class Sometimes(Module):
    def training_step(self, batch, batch_idx):
        if batch[1][0] == 0:
            self.log("zero", 1.0)
        return super().training_step(batch, batch_idx)


class Manual(Module):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class Accumulating(pl.Callback):
    """Begins to accumulate in the middle of the training."""

    def on_train_epoch_start(self, trainer, _module):
        trainer.accumulate_grad_batches = 1 + trainer.current_epoch


def test_a_list_that_training_step_only_writes_to_is_named():
    with pytest.raises(InputError, match=r"'outputs' changes with every pass.*ExactStrategy\(notes="):
        fit(Listing())
    module = Listing()
    fit(module, strategy=ExactStrategy(**SIZES, notes=["outputs"]))
    assert len(module.outputs) == 4 * 4 * 3


@pytest.mark.parametrize(
    ("module", "options", "line"),
    [
        (Module, {"precision": "64-true"}, "precision '64-true'; say '32-true' or 'bf16-mixed'"),
        (Module, {"accumulate_grad_batches": 2}, "accumulate_grad_batches; a larger minibatch_size accumulates"),
        (
            Module,
            {"callbacks": [pl.callbacks.GradientAccumulationScheduler({1: 2})]},
            "accumulate_grad_batches; a larger",
        ),
        (Module, {"callbacks": [Accumulating()]}, "a larger minibatch_size accumulates"),
        (Module, {"sync_batchnorm": True}, "sync_batchnorm"),
        (Module, {"callbacks": [GradientNoise()], "strategy": "ddp"}, "use ExactStrategy, not DDPStrategy"),
        (Manual, {}, "manual optimization"),
        (Sometimes, {}, "log the same for every worker"),
    ],
)
def test_lightning_is_refused_what_cannot_be_exact(module, options, line):
    with pytest.raises(InputError, match=line):
        fit(module(), **options)


@pytest.mark.parametrize(
    ("loader", "line"),
    [
        (lambda: DataLoader(samples(), sampler=WeightedRandomSampler([1.0] * 48, 48)), "WeightedRandomSampler"),
        (lambda: DataLoader(samples(), sampler=Halves(samples())), "the order comes from a Halves"),
        (lambda: DataLoader(Stream()), "is a stream"),
        (lambda: [DataLoader(samples()), DataLoader(samples())], "one training DataLoader"),
        (lambda: DataLoader(samples(10)), "minibatch_size 12 is larger than the data set of 10"),
    ],
)
def test_data_whose_order_would_depend_on_the_processes_is_refused(loader, line):
    with pytest.raises(InputError, match=line):
        fit(Module(), loader=loader())


def test_bfloat16_and_an_unshuffled_order_are_kept():
    module = Module()
    fit(module, loader=DataLoader(samples(), batch_size=2), precision="bf16-mixed", max_epochs=1)
    plain, _ = by_hand(lambda _: 0.1, epochs=1, order=lambda _: range(48), precision="bfloat16")
    assert hash_of(module.state_dict()) == hash_of(plain.state_dict())
    others = [by_hand(lambda _: 0.1, epochs=1, order=lambda _: range(48)), by_hand(lambda _: 0.1, epochs=1)]
    assert len({hash_of(trained.state_dict()) for trained, _ in (*others, (module, []))}) == 3
