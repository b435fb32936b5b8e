"""Small models and data of Lightning's, Accelerate's and transformers' kind, for the tests of their adapters."""

from hashlib import sha256

import pytorch_lightning as pl
import torch
import torchmetrics
from torch import nn
from torch.utils.data import TensorDataset
from transformers import GPT2Config, GPT2LMHeadModel

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
# Of the libraries: Lightning warns of torch's trees, and of a Slurm on the machine that it is not started by.
WARNINGS = ("ignore:::pytorch_lightning", "ignore:.*LeafSpec", "ignore:The `srun` command is available")
SIZES = {"minibatch_size": 12, "worker_minibatch_size": 4}


def hash_of(tensors):
    """Return a hash of a state_dict's values."""
    return sha256(b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in tensors.values())).hexdigest()


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


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Linear(8, 3)

    def forward(self, images, labels):
        return {"loss": nn.functional.cross_entropy(self.layers(images), labels)}


def named(samples):
    images, labels = torch.utils.data.default_collate(samples)
    return {"images": images, "labels": labels}


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
