"""Data sets, each built to break one rule; and one that is right."""

import os
import random

import torch


class Blobs(torch.utils.data.Dataset):
    """Noisy images around their class."""

    def __init__(self, indices):
        self.indices = list(indices)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, position):
        index = self.indices[position]
        return torch.randn(1, 8, 8) + index % 10, index % 10


def blobs():
    """Return data that is right."""
    return Blobs(range(96)), Blobs(range(40))


def sharded():
    """Return every second sample, by the rank."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return Blobs(range(rank, 97, world_size)), Blobs(range(40))


def shuffled_by_rank():
    """Return the samples in an order that depends on the rank."""
    order = list(range(96))
    random.Random(int(os.environ.get("RANK", "0"))).shuffle(order)
    return Blobs(order), Blobs(range(40))


class Picks(Blobs):
    """Returns any sample but the one asked for."""

    def __getitem__(self, position):
        return super().__getitem__(random.randrange(len(self)))


def shuffles_itself():
    return Picks(range(96)), Blobs(range(40))


class Noisy(Blobs):
    """Draws from the operating system."""

    def __getitem__(self, position):
        image, label = super().__getitem__(position)
        return image + os.urandom(1)[0], label


def noisy():
    return Noisy(range(96)), Blobs(range(40))


def order_by_rank(epoch):
    """Return an order that depends on the rank."""
    return [(epoch + int(os.environ.get("RANK", "0"))) % 96] * 80


def order_by_epoch(epoch):
    """Return an order that is right, although samples repeat."""
    return [epoch, *range(79)]
