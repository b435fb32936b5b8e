"""Seed torch's generators from a key."""

import torch


def seed_torch(key: int, device: torch.device | None = None) -> None:
    """Seed the generators that a computation on `device` may draw from: the CPU's, and the GPU's own.

    `torch.manual_seed` would queue a call for every accelerator not yet started, with a stack trace each:
    half a millisecond, and memory that is never freed.
    """
    seed = key >> 1  # torch takes 63 bits
    torch.default_generator.manual_seed(seed)
    if device is not None and device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)
