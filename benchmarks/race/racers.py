"""The racers: each trains a task on a data set until that ends, as its documentation teaches.

Run by torchrun: python -m race.racers NAME TASK [FOLDER]. Without a folder, on random images, in turns, for ever; with
one, on an epoch of its images.
"""

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, RandomSampler

from race.gate import Gated
from race.task import TASKS, N, Task, loss_of, processes, sgd

FOREVER: Final = 1_000_000  # epochs


def by_hand(task: Task, data: Dataset[Any], epochs: int) -> None:
    """Train with DistributedDataParallel, and accumulate under `no_sync`, as torch's tutorials have it."""
    model = task.model()
    if processes() > 1:
        torch.distributed.init_process_group("gloo")
        model = nn.parallel.DistributedDataParallel(model)
    sampler: Any = DistributedSampler(data, drop_last=True) if processes() > 1 else RandomSampler(data)  # type: ignore[arg-type]
    loader = DataLoader(data, N, sampler=sampler, drop_last=True)
    optimizer = sgd(model)
    for epoch in range(epochs):
        if processes() > 1:
            sampler.set_epoch(epoch)
        for number, (images, labels) in enumerate(loader, start=1):
            if number % task.parts and processes() > 1:
                with model.no_sync():  # type: ignore[operator]
                    (loss_of(model, images, labels) / task.parts).backward()
            else:
                (loss_of(model, images, labels) / task.parts).backward()
            if number % task.parts == 0:
                optimizer.step()
                optimizer.zero_grad()


def lightning(task: Task, data: Dataset[Any], epochs: int) -> None:
    """Train with pytorch-lightning's Trainer."""
    import pytorch_lightning

    class Module(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return loss_of(self.model, *batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self.model)

    trainer = pytorch_lightning.Trainer(
        accelerator="cpu",
        devices=processes(),
        strategy="ddp" if processes() > 1 else "auto",
        max_epochs=epochs,
        accumulate_grad_batches=task.parts,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), DataLoader(data, N, shuffle=True, drop_last=True))


def accelerate(task: Task, data: Dataset[Any], epochs: int) -> None:
    """Train with Accelerate, in a loop of one's own."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=task.parts)
    model = task.model()
    model, optimizer, loader = accelerator.prepare(model, sgd(model), DataLoader(data, N, shuffle=True, drop_last=True))
    for _ in range(epochs):
        for images, labels in loader:
            with accelerator.accumulate(model):
                accelerator.backward(loss_of(model, images, labels))
                optimizer.step()
                optimizer.zero_grad()


def transformers(task: Task, data: Dataset[Any], epochs: int) -> None:
    """Train with transformers' Trainer."""
    import tempfile

    from transformers import Trainer, TrainingArguments

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = task.model()

        def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
            return {"loss": loss_of(self.model, images, labels)}

    def collate(samples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
        images, labels = torch.utils.data.default_collate(samples)
        return {"images": images, "labels": labels}

    model = Wrapped()
    optimizer = sgd(model)
    arguments = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=N,
        gradient_accumulation_steps=task.parts,
        num_train_epochs=epochs,
        max_grad_norm=0,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        dataloader_drop_last=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        average_tokens_across_devices=False,
        ddp_find_unused_parameters=False,
    )
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    Trainer(model, arguments, data_collator=collate, train_dataset=data, optimizers=(optimizer, constant)).train()  # type: ignore[arg-type]


def bigbatch_with(all_reduce: str) -> Callable[[Task, Any, int], None]:
    """Return what trains with bigbatch, in the loop of its README."""

    def run(task: Task, data: Any, epochs: int) -> None:  # noqa: ANN401 - any data set
        import bigbatch

        with bigbatch.joined():
            model = task.model()
            minibatches = bigbatch.Minibatches(data, minibatch_size=task.minibatch_size, worker_minibatch_size=N)
            aggregation = bigbatch.AggregationOptions(all_reduce=all_reduce)
            losses = nn.CrossEntropyLoss(reduction="none")
            with bigbatch.Step(model, losses, sgd(model), minibatches, aggregation=aggregation) as step:
                for minibatch in minibatches.epochs(epochs):
                    step(minibatch)

    return run


RACERS: Final[dict[str, Callable[[Task, Any, int], None]]] = {
    "DDP by hand": by_hand,
    "pytorch-lightning": lightning,
    "Accelerate": accelerate,
    "transformers": transformers,
    "bigbatch, exact": bigbatch_with("auto"),
    "bigbatch, native": bigbatch_with("native"),
}


def main() -> None:
    """Run the racer that the command names."""
    racer, task, *folder = sys.argv[1:]
    torch.set_num_threads(1)
    if not folder:
        RACERS[racer](TASKS[task], Gated(TASKS[task].samples()), FOREVER)
        return
    from race.photographs import photographs

    RACERS[racer](TASKS[task], photographs(folder[0], TASKS[task].side, is_ours=racer.startswith("bigbatch")), 1)
    sys.stdout.flush()
    os._exit(0)  # torch's threads can abort an interpreter that is torn down (pytorch#190489), whoever's trainer ran


if __name__ == "__main__":
    main()
