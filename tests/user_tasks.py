"""Tasks other than classification, as a user of the command would bring them: data, models, metrics."""

import torch
from torch import nn

import bigbatch
from bigbatch.step.objective import Loss

NUM_VALIDATION = 44


class Samples(torch.utils.data.Dataset):
    """Random inputs, and targets that follow from them."""

    def __init__(self, count, kind, seed):
        self.count, self.kind = count, kind
        generator = torch.Generator().manual_seed(seed)
        self.numbers = torch.randn(count, 6, generator=generator)
        self.images = torch.randn(count, 1, 6, 6, generator=generator)
        self.tokens = torch.randint(0, 9, (count, 7), generator=generator)

    def __len__(self):
        """Return the number of samples."""
        return self.count

    def __getitem__(self, index):
        """Return a sample of the kind."""
        numbers, image, tokens = self.numbers[index], self.images[index], self.tokens[index]
        following = (tokens * 2 % 9).masked_fill(tokens == 8, -100)
        mask = (image[0] > 0).long() + (image[0] > 1).long()
        return {
            "regression": (numbers, numbers[:3].sum(0, keepdim=True)),
            "flat-regression": (numbers, numbers[:3].sum()),
            "multi-label": (numbers, (numbers[:3] > 0).float()),
            "segmentation": (image, mask.masked_fill(image[0] > 2, 255).masked_fill(image[0] < -2, -100)),
            "language": (tokens, following),
            "labels": (numbers, index % 3),
            "wrong-labels": (numbers, index % 4),
        }[self.kind]


def data(kind):
    """Return training and validation data."""
    return Samples(64, kind, 0), Samples(NUM_VALIDATION, kind, 1)


def model(kind):
    """Return a small model."""
    return {
        "regression": lambda: nn.Linear(6, 1),
        "flat-regression": lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)),
        "multi-label": lambda: nn.Linear(6, 3),
        "segmentation": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 1)),
        "language": lambda: nn.Sequential(nn.Embedding(9, 8), nn.Dropout(0.1), nn.Linear(8, 9)),
        "labels": lambda: nn.Linear(6, 3),
        "wrong-labels": lambda: nn.Linear(6, 3),
        "forces": Forces,
    }[kind]()


class Forces(nn.Module):
    """Returns the derivative of an energy by its input, as models of molecules do."""

    def __init__(self):
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)[0][:, :1]


def masked_pixels(outputs, targets):
    """Return the loss of a segmentation with two values that do not count."""
    targets = targets.masked_fill(targets == 255, -100)
    total = nn.functional.cross_entropy(outputs, targets, ignore_index=-100, reduction="sum")
    return Loss(total, (targets != -100).sum())


@bigbatch.objective
def following_token(module, batch):
    """Return the loss of a language model by count."""
    tokens, following = batch
    total = nn.functional.cross_entropy(module(tokens).transpose(1, 2), following, reduction="sum")
    return Loss(total, (following != -100).sum())


def predict_tokens(module, batch):
    """Return outputs and targets of a language model."""
    return module(batch[0]), batch[1]


class LargestError:
    """The largest absolute error, in kelvin: a metric of one's own."""

    name, unit, better = "largest-error", "K", "lower"

    def measure(self, outputs, targets):
        """Return the errors of a part, whose number differs from part to part."""
        return {"errors": (outputs - targets).abs().flatten(), "count": len(targets)}

    def result(self, parts):
        """Return the largest."""
        if sum(part["count"] for part in parts) != NUM_VALIDATION:
            msg = "a part alone says nothing"
            raise ValueError(msg)
        return float(torch.cat([part["errors"] for part in parts]).max())


def dim_zero_sum(states):
    """Stand in for what torchmetrics merges a state by, as its author says."""
    return states.sum(0)


def dim_zero_cat(states):
    """Stand in for torchmetrics' own."""
    return torch.cat(states)


class StandIn(nn.Module):
    """Stand in for a metric of torchmetrics: the face that is used of it."""

    higher_is_better = True
    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self._defaults = {"right": torch.tensor(0), "count": torch.tensor(0), "scores": []}
        self._reductions = {"right": dim_zero_sum, "count": dim_zero_sum, "scores": dim_zero_cat}
        self._update_count, self.sync_on_compute, self._to_sync = 0, True, True
        self.reset()

    def reset(self):
        """Forget everything."""
        self.right, self.count, self.scores = torch.tensor(0), torch.tensor(0), []

    def update(self, outputs, targets):
        """Count labels."""
        self.right += ((outputs > 0) == (targets > 0)).sum()  # ty: in place, as torchmetrics does
        self.count += targets.numel()
        self.scores.append(outputs.flatten())

    def compute(self):
        """Return the part of the labels that are right, if every score has arrived."""
        assert not self.sync_on_compute
        scores = torch.cat(self.scores) if isinstance(self.scores, list) else self.scores
        assert len(scores) == self.count
        return self.right / self.count


class LabelAccuracy(StandIn):
    """A metric with a name of two words."""


def any_loss(outputs, targets):
    """Return a loss that does not look at the labels."""
    return outputs.square().mean(1) + 0 * targets
