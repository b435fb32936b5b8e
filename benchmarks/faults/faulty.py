"""Data of a user's own, `faulty:digits`, whose module brings the fault that FAULT names into the process it runs in."""

import os
import platform
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils.data import TensorDataset

from bigbatch.data.load import load_data
from bigbatch.recipe import Data
from bigbatch.runs import provenance
from bigbatch.step.step import Step

BAD_SAMPLE = 700
FLIP_BEFORE = 130  # iterations
FLIPPED_RANK, FLIPPED_BIT = "1", 16


def digits() -> tuple[TensorDataset, TensorDataset]:
    """Return the digits as training and validation data, after the fault."""
    splits = load_data(Data("digits"))
    images, labels = splits.train.images.float() / 16, splits.train.labels
    fault = os.environ.get("FAULT", "")
    if fault == "nan":
        images[BAD_SAMPLE] = torch.nan
    elif fault == "other data":
        images[0, 0, 0, 0] += 1
    elif fault == "default dtype":
        torch.set_default_dtype(torch.float64)
    elif fault in {"torch", "numpy"}:
        version = provenance.package_version
        provenance.package_version = lambda package: "1.0" if package == fault else version(package)
    elif fault == "python":
        platform.python_version = lambda: "2.7"
    elif fault == "flip" and os.environ.get("RANK") == FLIPPED_RANK:
        flip_once()
    training = TensorDataset(images, labels)
    training.classes = [str(digit) for digit in range(10)]
    return training, TensorDataset(splits.validation.images.float() / 16, splits.validation.labels)


def flip_once() -> None:
    """Flip a bit of a weight before an iteration of the first attempt: not the lowest, which may be rounded away."""
    backward = Step.backward

    def flipping(self: Step, minibatch: Iterable[Any], *, iteration: int, **options: Any) -> torch.Tensor:  # noqa: ANN401
        if iteration == FLIP_BEFORE and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0":
            self.parameters[0].data.view(torch.int32).view(-1)[0] ^= 1 << FLIPPED_BIT
        return backward(self, minibatch, iteration=iteration, **options)

    Step.backward = flipping


def net(width: int = 16, dtype: str = "float32") -> torch.nn.Module:
    """Return a model, of another width or dtype where OTHER_MODEL says so."""
    width, dtype = {"width": (17, dtype), "dtype": (width, "float64")}.get(
        os.environ.get("OTHER_MODEL", ""), (width, dtype)
    )
    first = torch.nn.Linear(64, width, dtype=getattr(torch, dtype))
    return torch.nn.Sequential(torch.nn.Flatten(), first, torch.nn.ReLU(), torch.nn.Linear(width, 10))
