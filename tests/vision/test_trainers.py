"""Lightning, Accelerate and transformers: their own programs, with exact steps, have one hash for p = 1, 2, 3."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset, WeightedRandomSampler
from transformers import GPT2Config, GPT2LMHeadModel, TrainingArguments, ViTConfig, ViTForImageClassification

import bigbatch
from bigbatch.errors import InputError
from bigbatch.integrations.accelerate import prepare
from bigbatch.integrations.lightning import ExactStrategy, GradientNoise, ScaledRate
from bigbatch.integrations.rates import ScaledUpdate
from bigbatch.integrations.transformers import ExactTrainer
from prose import code_blocks

EXAMPLES = Path(__file__).parents[2] / "examples" / "trainers"
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
# Of the libraries: Lightning warns of torch's trees, and of a Slurm on the machine that it is not started by.
WARNINGS = ("ignore:::pytorch_lightning", "ignore:.*LeafSpec", "ignore:The `srun` command is available")
pytestmark = pytest.mark.filterwarnings(*WARNINGS)
SIZES = {"minibatch_size": 12, "worker_minibatch_size": 4}


def hash_of(tensors):
    """Return a hash of a state_dict's values."""
    return sha256(b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors.values())).hexdigest()


def lightning(folder, processes, *options):
    said = run(EXAMPLES / "lightning_digits.py", 0, "--devices", str(processes), "--output", folder, *options)
    state = torch.load(folder / "step=28.ckpt", weights_only=False)["state_dict"]
    return folder / "step=4.ckpt", (hash_of(state), said)


def accelerate(folder, processes, *options):
    said = run(EXAMPLES / "accelerate_digits.py", processes, "--output", folder / "at", *options)
    return folder / "at-4.pt", (hash_of(torch.load(folder / "at-28.pt")["model"]), said)


def transformers(folder, processes, *options):
    said = run(EXAMPLES / "transformers_text.py", processes, "--output", folder, *options)
    return folder / "checkpoint-4", (hash_of(load_file(folder / "model.safetensors")), said)


def run(program, processes, *options):
    """Run an example, under torchrun where it does not start its processes itself; return its last line."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes else []
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-W", "ignore", *torchrun, program, *options]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("train", [lightning, accelerate, transformers])
def test_a_program_of_theirs_has_one_hash_for_any_number_of_processes_and_goes_on_with_another(train, tmp_path):
    """So are the losses and metrics that it prints. No thread count is given: each sets its own."""
    folders = [tmp_path / name for name in ("one", "three", "again")]
    for folder in folders:
        folder.mkdir()
    _, one = train(folders[0], 1)
    within_an_epoch, three = train(folders[1], 3)
    _, again = train(folders[2], 2, "--checkpoint", within_an_epoch)
    assert one == three == again


def test_the_lines_that_are_added_to_a_program_are_at_most_three():
    """Accelerate's also loses its lines for the forward and backward pass."""
    for program in EXAMPLES.glob("*_*.py"):
        added = [line for line in program.read_text().splitlines() if line.endswith("# bigbatch")]
        assert 1 <= len(added) <= 3, program


def samples(n=48):
    generator = torch.Generator().manual_seed(1)
    return TensorDataset(torch.randn(n, 8, generator=generator), torch.randint(0, 3, (n,), generator=generator))


class Module(pl.LightningModule):
    """A module with a metric, a list of outputs, and a schedule."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(3, average="micro")
        self.outputs, self.rates = [], []

    def training_step(self, batch, batch_idx):  # noqa: ARG002 - Lightning's
        images, labels = batch
        outputs = self.model(images)
        self.accuracy.update(outputs, labels)
        loss = nn.functional.cross_entropy(outputs, labels)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss}

    def on_before_optimizer_step(self, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1)]


def fit(module, *, loader=None, strategy=None, **options):
    options = {"max_epochs": 4, "devices": 1, "enable_checkpointing": False} | QUIET | options
    trainer = pl.Trainer(strategy=strategy or ExactStrategy(**SIZES), **options)
    loader = DataLoader(samples(), batch_size=2, shuffle=True) if loader is None else loader
    trainer.fit(module, loader)
    return trainer


@pytest.fixture(autouse=True)
def no_group():
    """Leave no process group and no thread count to the next test."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


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


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(8, 3)

    def forward(self, images, labels):
        return {"loss": nn.functional.cross_entropy(self.layers(images), labels)}


def prepared(loader=None, *, sizes=SIZES, accelerator=None, **options):
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = loader or DataLoader(samples(), batch_size=2, shuffle=True)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=2 * len(loader))
    return optimizer, *prepare(
        accelerator or Accelerator(cpu=True), model, optimizer, loader, scheduler, **sizes, **options
    )


def named(samples):
    images, labels = torch.utils.data.default_collate(samples)
    return {"images": images, "labels": labels}


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


def words(n=24):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 9, (n,), generator=generator).tolist()
    return [{"input_ids": torch.randint(0, 20, (length,), generator=generator)} for length in lengths]


def padded(samples):
    tokens = [sample["input_ids"] for sample in samples]
    ids = nn.utils.rnn.pad_sequence(tokens, batch_first=True)
    return {"input_ids": ids, "labels": nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=-100)}


def gpt():
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=8, n_embd=8, n_layer=1, n_head=2))


def trainer_of(folder, model=None, kind=ExactTrainer, data=None, **options):
    own = {name: options.pop(name) for name in ("reference", "warmup_epochs") if name in options}
    settings = {"per_device_train_batch_size": 4, "num_train_epochs": 2, "use_cpu": True, "report_to": [], "seed": 0}
    settings |= {"logging_steps": 1, "save_strategy": "no", "disable_tqdm": True} | options
    arguments = TrainingArguments(str(folder), **settings)
    data = data or {"train_dataset": words(), "data_collator": padded}
    return kind(model or gpt(), arguments, **data, minibatch_size=12, **own)


def test_transformers_takes_the_steps_of_a_plain_loop_that_counts_tokens(tmp_path):
    """Its default optimizer, schedule, clipping and decay; of a model with dropout."""
    trainer = trainer_of(
        tmp_path, reference=6, warmup_epochs=1, optim="sgd", lr_scheduler_type="constant", learning_rate=0.1
    )
    trainer.train()
    assert trainer.counted == "all but the first"

    @bigbatch.objective
    def tokens(model, batch):
        labels = batch["labels"][:, 1:]
        logits = model(batch["input_ids"]).logits[:, :-1].float()
        total = nn.functional.cross_entropy(
            logits.reshape(-1, 20), labels.reshape(-1), ignore_index=-100, reduction="sum"
        )
        return bigbatch.Loss(total, (labels != -100).sum())

    model = gpt().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    with bigbatch.joined():
        minibatches = bigbatch.Minibatches(words(), minibatch_size=12, worker_minibatch_size=4, collate=padded)
        with bigbatch.Step(model, tokens, optimizer, minibatches) as step:
            for minibatch in minibatches.epochs(2):
                rate = 0.1 * (1 + min(1, step.iteration / 2))
                bigbatch.set_learning_rate(optimizer, rate)
                losses.append(float(step.backward(minibatch).loss))
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["loss"] for line in logged] == pytest.approx(losses, rel=1e-5)
    assert [line["learning_rate"] for line in logged] == pytest.approx([0.1, 0.15, 0.2, 0.2])
    pairs = zip(model.state_dict().values(), trainer.model.state_dict().values(), strict=True)
    worst = max(float((one - other).abs().max()) for one, other in pairs)
    assert worst < 1e-6  # the same numbers, by other kernels for the loss


def vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return ViTForImageClassification(ViTConfig(image_size=4, patch_size=2, num_channels=1, num_labels=3, **sizes))


def dots(n=24):
    generator = torch.Generator().manual_seed(0)
    return [{"pixel_values": torch.randn(1, 4, 4, generator=generator), "labels": i % 3} for i in range(n)]


def vit_trainer(folder, *, model=None, **options):
    data = {"train_dataset": dots(), "eval_dataset": dots(6), "data_collator": None}
    save = {"save_strategy": "steps", "save_steps": 1, "learning_rate": 0.1} | options
    return trainer_of(folder, model or vit(), data=data, **save)


def test_a_model_whose_file_has_other_names_than_it_goes_on_to_the_same_weights(tmp_path):
    """Trainer itself goes on with the weights of the start, and a warning."""
    whole = vit_trainer(tmp_path / "whole")
    whole.train()
    again = vit_trainer(tmp_path / "again")
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    assert hash_of(again.model.state_dict()) == hash_of(whole.model.state_dict())
    best = vit_trainer(tmp_path / "best", load_best_model_at_end=True, eval_strategy="steps", eval_steps=1)
    best.train()
    number = best.state.best_model_checkpoint
    assert hash_of(best.model.state_dict()) == hash_of(ViTForImageClassification.from_pretrained(number).state_dict())


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    vit_trainer(tmp_path).train()
    path = tmp_path / "checkpoint-1" / "model.safetensors"
    weights = load_file(path)
    save_file({name: weight for name, weight in weights.items() if "classifier.weight" not in name}, path)
    with pytest.raises(InputError, match=r"checkpoint-1 has no classifier\.weight; go on with the model that wrote it"):
        vit_trainer(tmp_path).train(resume_from_checkpoint=str(path.parent))

    class OfMyOwn(ViTForImageClassification):
        def __init__(self, config, size):
            super().__init__(config)
            self.size = size

    trainer = vit_trainer(tmp_path, model=OfMyOwn(vit().config, 3))
    with pytest.raises(InputError, match=r"cannot be read by from_pretrained \(.*and \d+ more; go on with"):
        trainer.train(resume_from_checkpoint=str(path.parent))


class Mean(GPT2LMHeadModel):
    """Takes the number of items, and leaves it unused, as losses of regressions do."""

    def forward(self, input_ids=None, labels=None, num_items_in_batch=None, **options):  # noqa: ARG002 - what is tested
        return super().forward(input_ids, labels=labels, **options)


class Odd(ExactTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # noqa: ARG002, FBT002
        return model(inputs["input_ids"]).logits.mean() + (2 if num_items_in_batch is None else 3)


def test_a_loss_that_ignores_the_number_of_items_is_a_mean_and_one_that_does_neither_is_refused(tmp_path):
    trainer = trainer_of(tmp_path, Mean(gpt().config), max_steps=1)
    trainer.train()
    assert trainer.counted == ""
    with pytest.raises(InputError, match="override compute_loss to divide a sum by num_items_in_batch"):
        trainer_of(tmp_path, kind=Odd, max_steps=1).train()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps"),
        ({"torch_compile": True}, "torch_compile"),
        ({"include_num_input_tokens_seen": True}, "include_num_input_tokens_seen"),
    ],
)
def test_transformers_is_refused_what_cannot_be_exact(options, line, tmp_path):
    with pytest.raises(InputError, match=f"ExactTrainer does not take {line}"):
        trainer_of(tmp_path, **options)


def test_a_rate_is_put_back_after_the_update_whatever_happens():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.1))
    update = ScaledUpdate(optimizer)
    for _ in range(2):  # the first is never stepped
        update.scale(3.0)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.3)
    optimizer.step()
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_the_snippets_of_the_page_train(tmp_path):
    """Of docs/trainers.md: one for each trainer. Lightning would start a second process by itself."""
    page = (EXAMPLES.parents[1] / "docs" / "trainers.md").read_text()
    of_lightning, of_accelerate, of_transformers = code_blocks(page, "python")
    alone = QUIET | {"devices": 1, "max_epochs": 1, "enable_checkpointing": False}
    names = {"Trainer": lambda **options: pl.Trainer(**options | alone)}
    run_block(of_lightning, names)
    names["trainer"].fit(Module(), DataLoader(samples(512), batch_size=8, shuffle=True))
    assert names["trainer"].global_step == 2

    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(samples(512), batch_size=64, shuffle=True, collate_fn=named)
    names = {"accelerator": Accelerator(cpu=True), "model": model, "optimizer": optimizer, "train_loader": loader}
    names["scheduler"] = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=len(loader))
    run_block(of_accelerate, names)
    names["step"].close()
    assert names["step"].iteration == 2
    assert names["scheduler"].get_last_lr() == pytest.approx([0.0])

    arguments = TrainingArguments(str(tmp_path), num_train_epochs=1, use_cpu=True, report_to=[], disable_tqdm=True)
    run_block(of_transformers, {"model": gpt(), "arguments": arguments, "dataset": words(512), "collator": padded})
    assert (tmp_path / "checkpoint-2").is_dir()


def run_block(block, names):
    exec(compile(block, "docs/trainers.md", "exec"), names)  # noqa: S102 - our own text
