"""A loop for Accelerate, trained at a minibatch of 256 by any number of processes; the lines marked are bigbatch's.

torchrun --nproc-per-node 2 examples/trainers/accelerate_digits.py
"""

import argparse

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from digits import digits
from torch import nn
from torch.utils.data import DataLoader

from bigbatch.integrations.accelerate import prepare  # bigbatch


class Classifier(nn.Module):
    """A model that returns its own loss, as those of transformers do."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10)
        )

    def forward(self, images, labels):
        logits = self.layers(images)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def collate(samples):
    images, labels = torch.utils.data.default_collate(samples)
    return {"images": images, "labels": labels}


def count_right(accelerator, model, loader):
    """Return how many samples are classified rightly."""
    model.eval()
    right = 0
    for batch in loader:
        with torch.no_grad():
            predicted = model(**batch)["logits"].argmax(1)
        predicted, labels = accelerator.gather_for_metrics((predicted, batch["labels"]))
        right += int((predicted == labels).sum())
    return right


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--checkpoint", help="to go on from")
    parser.add_argument("--output", default="accelerate_digits")
    arguments = parser.parse_args()
    accelerator = Accelerator(cpu=True)
    set_seed(0)
    train, validation = digits()
    train_loader = DataLoader(train, batch_size=64, shuffle=True, collate_fn=collate)
    validation_loader = DataLoader(validation, batch_size=256, collate_fn=collate)
    model = Classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    total = len(train_loader) * arguments.epochs
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total)
    sizes = {"minibatch_size": 256, "worker_minibatch_size": 32, "reference": 64, "warmup_epochs": 1}
    step, train_loader, scheduler = prepare(accelerator, model, optimizer, train_loader, scheduler, **sizes)  # bigbatch
    validation_loader = accelerator.prepare(validation_loader)
    if arguments.checkpoint:
        state = torch.load(arguments.checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        step.iteration = state["iteration"]
    while step.iteration < len(train_loader) * arguments.epochs:
        model.train()
        for batch in train_loader:
            loss = step.backward(batch).loss  # bigbatch
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if accelerator.is_main_process and step.iteration % 4 == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                state |= {"scheduler": scheduler.state_dict(), "iteration": step.iteration}
                torch.save(state, f"{arguments.output}-{step.iteration}.pt")
    right = count_right(accelerator, model, validation_loader)
    accelerator.print({"loss": round(float(loss), 4), "accuracy": round(right / len(validation), 4)})


if __name__ == "__main__":
    main()
