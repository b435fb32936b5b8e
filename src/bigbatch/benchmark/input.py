"""How fast samples are read: decoded, cut, normalised, and handed over by readers; beside Pillow with torchvision."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bigbatch.data.byte_images import MEAN, STD
from bigbatch.data.dataset import BatchDataset, read
from bigbatch.data.image_files.listing import ContainedListing
from bigbatch.data.image_folder import ImageFolder
from bigbatch.data.load import load_data
from bigbatch.data.loading import load_batches
from bigbatch.recipe import Recipe
from bigbatch.rules.randomness.keyed import below, random_key, random_words
from bigbatch.rules.sampling import BatchIndices

Indices = NDArray[np.int64]
Read = Callable[[Indices], object]

DECODE: Final = "decode"  # whole images, by Pillow
AS_BYTES: Final = "decode, crop, flip"
AS_FLOATS: Final = "decode, crop, flip, normalise"
BATCH: Final = "read a batch"


def bench_input(recipe: Recipe, *, rounds: int, samples: int, loader_workers: int, beside: str = "") -> dict[str, Any]:
    """Time how the training samples of a recipe are read, each stage in turn, on the same samples of each round.

    Args:
        recipe: names the data and the worker minibatch size.
        rounds: of all stages.
        samples: that each stage reads in a round.
        loader_workers: readers of the last stage.
        beside: a folder of class folders that torchvision reads in its place; "" for the recipe's own.

    Returns:
        By stage, the samples that a core reads in a second of its time: median, least and largest over the rounds; the
        same of torchvision, and the ratio of the medians of pairs, where it can be compared; and what readers hand over
        in a second of the clock.

    Raises:
        InputError: the data cannot be read, or `beside` is no folder of images.
    """
    torch.set_num_threads(1)
    data = load_data(recipe.data)
    dataset = data.train
    ours = _our_stages(dataset)
    theirs, reason = _their_stages(recipe, dataset, beside)
    seconds: dict[str, list[float]] = {name: [] for name in ours}
    peers: dict[str, list[float]] = {name: [] for name in theirs}
    for number in range(-1, rounds):  # the first round is not counted
        drawn = below(random_words(random_key("bench input", number), np.arange(samples))[:, 0], len(dataset))
        for name, stage in ours.items():
            pair = [(stage, seconds[name]), *([(theirs[name], peers[name])] if name in theirs else [])]
            for run, found in pair if number % 2 else pair[::-1]:
                taken = _core_seconds(run, drawn.astype(np.int64), recipe.worker_minibatch_size)
                if number >= 0:
                    found.append(taken)
    return {
        "recipe": recipe.name,
        "data": recipe.data.name,
        "path": recipe.data.path,
        "beside": beside or recipe.data.path,
        "decoder": data.engine.get("decoder", ""),
        "image_size": recipe.data.image_size,
        "samples": samples,
        "rounds": rounds,
        "stages": {name: _rates(found, samples) for name, found in seconds.items()},
        "torchvision": {name: _rates(found, samples) for name, found in peers.items()},
        "not_compared": reason,
        "ratios": {
            name: median(peer / our for our, peer in zip(seconds[name], found, strict=True))
            for name, found in peers.items()
        },
        "loader_workers": loader_workers,
        "handed_over_per_second": _handed_over(dataset, recipe, samples * rounds, loader_workers),
    }


def _our_stages(dataset: BatchDataset) -> dict[str, Read]:
    if not isinstance(dataset, ImageFolder):
        return {BATCH: lambda indices: read(dataset, indices, 1)}
    return {
        DECODE: lambda indices: [dataset.listing.image(index) for index in indices.tolist()],
        AS_BYTES: lambda indices: read(dataset, indices, 1, as_bytes=True),
        AS_FLOATS: lambda indices: read(dataset, indices, 1),
    }


def _their_stages(recipe: Recipe, dataset: BatchDataset, beside: str) -> tuple[Mapping[str, Read], str]:
    """Return torchvision's stages as its examples have them, or none and why."""
    if not isinstance(dataset, ImageFolder):
        return {}, "torchvision is compared on image-folder data only"
    try:
        from torchvision import datasets, transforms
    except (ImportError, RuntimeError):  # the latter of one that was built for another torch
        return {}, "torchvision is not installed"
    other = dataset if not beside else load_data(replace(recipe.data, path=beside)).train
    paths = _files(other)
    if not paths:
        return {}, "torchvision reads no tar files and no packs; name the folder that they were made of with --beside"
    load, size = datasets.folder.pil_loader, recipe.data.image_size
    cut = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    as_bytes = transforms.Compose([*cut, transforms.PILToTensor()])
    as_floats = transforms.Compose([*cut, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    return {
        DECODE: lambda indices: [load(paths[i % len(paths)]) for i in indices.tolist()],
        AS_BYTES: lambda indices: torch.stack([as_bytes(load(paths[i % len(paths)])) for i in indices.tolist()]),
        AS_FLOATS: lambda indices: torch.stack([as_floats(load(paths[i % len(paths)])) for i in indices.tolist()]),
    }, ""


def _files(dataset: BatchDataset) -> list[str]:
    listing = dataset.listing if isinstance(dataset, ImageFolder) else None
    if listing is None or isinstance(listing, ContainedListing):
        return []
    return [listing.place(index) for index in range(len(listing))]


def _core_seconds(run: Read, indices: Indices, batch_size: int) -> float:
    start = time.process_time()
    for first in range(0, len(indices), batch_size):
        run(indices[first : first + batch_size])
    return time.process_time() - start


def _handed_over(dataset: BatchDataset, recipe: Recipe, samples: int, loader_workers: int) -> float:
    """Return the samples of a second that come out of the loader, after the first batch."""
    n = recipe.worker_minibatch_size
    count = max(2, samples // n)
    order = np.arange(count * n) % len(dataset)
    batches = [BatchIndices(0, order[first : first + n]) for first in range(0, count * n, n)]
    found = load_batches(dataset, batches, seed=0, device=torch.device("cpu"), loader_workers=loader_workers)
    next(found)
    start = time.perf_counter()
    for _ in found:
        pass
    return (count - 1) * n / (time.perf_counter() - start)


def _rates(seconds: Sequence[float], samples: int) -> dict[str, float]:
    rates = sorted(samples / taken for taken in seconds)
    return {"median": median(rates), "least": rates[0], "largest": rates[-1]}
