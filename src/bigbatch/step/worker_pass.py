"""What a worker's pass through the model depends on: its seed and its precision. The step and its checks share it."""

from typing import Final

import torch
from torch import Tensor

from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key

PRECISIONS: Final = ("float32", "bfloat16")  # of a forward pass; a recipe has the same
HALF: Final = frozenset({torch.float16, torch.bfloat16})


def seed_worker(seed: int, iteration: int, worker: int, device: torch.device) -> None:
    """Seed every generator that a worker's pass may draw from. The seed does not depend on the process."""
    seed_generators(random_key("worker", seed, iteration, worker), device)


def forward_precision(device: torch.device, precision: str) -> torch.autocast:
    """Return the context of a forward pass: autocast for "bfloat16", nothing for "float32"."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def in_full_precision(losses: Tensor) -> Tensor:
    """Return losses as they are summed: those of 16 bits as float32."""
    return losses.float() if losses.dtype in HALF else losses
