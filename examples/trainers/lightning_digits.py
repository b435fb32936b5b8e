"""A LightningModule, trained at a minibatch of 256 by any number of processes; the lines marked are bigbatch's.

python examples/trainers/lightning_digits.py --devices 2
"""

import argparse

import pytorch_lightning as pl
import torch
import torchmetrics
from digits import digits
from torch import nn
from torch.utils.data import DataLoader

from bigbatch.integrations.lightning import ExactStrategy, ScaledRate  # bigbatch


class Classifier(pl.LightningModule):
    """A module as Lightning's documentation teaches it."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
        self.train_accuracy = torchmetrics.classification.MulticlassAccuracy(10)
        self.accuracy = torchmetrics.classification.MulticlassAccuracy(10)

    def training_step(self, batch):
        images, labels = batch
        outputs = self.model(images)
        loss = nn.functional.cross_entropy(outputs, labels)
        self.train_accuracy(outputs, labels)
        self.log("train_loss", loss)
        self.log("train_accuracy", self.train_accuracy, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch):
        images, labels = batch
        self.accuracy.update(self.model(images), labels)
        self.log("accuracy", self.accuracy)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        epochs = self.trainer.max_epochs
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--checkpoint", help="to go on from")
    parser.add_argument("--output", default="lightning_digits")
    arguments = parser.parse_args()
    train, validation = digits()
    pl.seed_everything(0)
    save = pl.callbacks.ModelCheckpoint(arguments.output, filename="{step}", every_n_train_steps=4, save_top_k=-1)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=arguments.devices,
        strategy=ExactStrategy(minibatch_size=256, worker_minibatch_size=32),  # bigbatch
        callbacks=[ScaledRate(reference=64, warmup_epochs=1), save],  # bigbatch
        max_epochs=arguments.epochs,
        gradient_clip_val=1.0,
        logger=False,
        enable_progress_bar=False,
    )
    loaders = DataLoader(train, batch_size=64, shuffle=True), DataLoader(validation, batch_size=256)
    trainer.fit(Classifier(), *loaders, ckpt_path=arguments.checkpoint)
    trainer.print({name: round(float(value), 4) for name, value in sorted(trainer.callback_metrics.items())})


if __name__ == "__main__":
    main()
