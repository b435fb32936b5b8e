"""Precaution 4: one shuffle of the data an epoch, divided among the workers (arXiv 1706.02677, section 3)."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.batch import Batch
from bigbatch.data.dataset import BatchDataset, Splits, read
from bigbatch.recipe import Recipe
from bigbatch.rules.randomness.keyed import augmentation_key
from bigbatch.rules.sampling import Sampling, process_workers
from bigbatch.training.parts import build_minibatches
from bigbatch.user_code import is_user_code
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.reading import read_as_rank, spread

NAME: Final = "shuffling"
WORLD_SIZE: Final = 2
NUM_PARTS: Final = 2  # of a batch of (inputs, targets)


def check_shuffling(recipe: Recipe, data: Splits, processes: Sequence[int]) -> Check:
    """Follow two epochs through the processes, and read the user's samples and order as rank 0 and as rank 1."""
    source = build_minibatches(recipe, data, torch.device("cpu"), minibatch_size=recipe.minibatch_size)
    sampling = source.sampling
    if reason := wrong_order(sampling, processes):
        return failed(NAME, reason)
    if is_user_code(recipe.data.name) and (reason := _moves_samples(recipe, data.train)):
        return failed(NAME, reason)
    if recipe.data.user_code and (reason := _depends_on_rank(recipe)):
        return failed(NAME, reason)
    used, all_samples = sampling.num_samples - sampling.num_dropped, len(data.train)
    counts = ", ".join(map(str, processes))
    shuffle = f"{used} of {all_samples} samples once an epoch, in another order the next"
    own = f"an order of your own, {used} samples an epoch of {all_samples}"
    return passed(
        NAME,
        f"{own if sampling.order else shuffle}; the same {sampling.iterations_per_epoch} minibatches with p = {counts}",
    )


def visited(sampling: Sampling, epoch: int, world_size: int) -> NDArray[np.int64]:
    """Return the samples of an epoch's minibatches, as its processes read them: shape (iterations, kn)."""
    parts = []
    for rank in range(world_size):
        workers = process_workers(sampling.worker_count, rank=rank, world_size=world_size)
        batches = np.stack([batch.indices for batch in sampling.epoch(epoch, workers)])
        parts.append(batches.reshape(sampling.iterations_per_epoch, -1))
    return np.concatenate(parts, axis=1)


def wrong_order(sampling: Sampling, processes: Sequence[int]) -> str | None:
    """Say why the epochs are not one shuffle each, divided among the workers of any number of processes, if so.

    An order of one's own may repeat samples and itself.
    """
    first, following = (visited(sampling, epoch, 1) for epoch in (0, 1))
    if not sampling.order and len(np.unique(first)) != first.size:
        return f"an epoch visits only {len(np.unique(first))} samples in {first.size} places"
    if not sampling.order and first.size > 1 and np.array_equal(first, following):
        return "the second epoch has the order of the first"
    for p in processes:
        if not np.array_equal(visited(sampling, 0, p), first):
            return f"the minibatches of p = {p} are others than those of p = 1"
    return None


def _moves_samples(recipe: Recipe, train: BatchDataset) -> str | None:
    """Say so if a sample has another class in the next epoch: the dataset then shuffles within itself."""
    indices = spread(len(train))
    keys = (augmentation_key(recipe.seed_of("augmentation"), epoch) for epoch in (0, 1))
    first, following = (_targets(read(train, indices, key)) for key in keys)
    if (
        isinstance(first, Tensor)
        and isinstance(following, Tensor)
        and not first.is_floating_point()
        and first.ndim == 1
    ):
        for index, before, after in zip(indices.tolist(), first.tolist(), following.tolist(), strict=True):
            if before != after:
                return f"the dataset shuffles itself: sample {index} has target {before}, and {after} an epoch later"
    return None


def _targets(batch: Batch) -> object:
    """Return the targets of (inputs, targets); nothing for other batches."""
    return batch[1] if isinstance(batch, tuple | list) and len(batch) == NUM_PARTS else None


def _depends_on_rank(recipe: Recipe) -> str | None:
    zero, one = (read_as_rank(recipe, rank, WORLD_SIZE) for rank in range(WORLD_SIZE))
    if zero["num_samples"] != one["num_samples"]:
        counts = f"{zero['num_samples']} samples on rank 0, {one['num_samples']} on rank 1"
        return f"the dataset depends on the rank: {counts}; it must not shard itself"
    if zero["order"] != one["order"]:
        return "data.order depends on the rank; it must be a function of the epoch alone"
    for index, digest in zero["digests"].items():
        if one["digests"][index] != digest:
            return f"the dataset depends on the rank: sample {index} is another on rank 1; it must not shard or shuffle"
    return None
