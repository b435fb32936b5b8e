"""A text cut into sequences of tokens, each with the tokens that follow."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bigbatch.data.dataset import Splits
from bigbatch.data.tokens import Part, tokenize
from bigbatch.errors import InputError
from bigbatch.recipe import Data


def load_text(recipe: Data) -> Splits:
    """Read the text at `path`: `train.txt` and `val.txt`, or one text whose last part is validated on.

    Raises:
        InputError: no such text or tokenizer, or a part that is shorter than a sequence.
    """
    if recipe.augmentation:
        msg = f"augmentation '{recipe.augmentation[0]}' is for images; a text takes none"
        raise InputError(msg)
    text, length = tokenize(recipe), recipe.sequence_length
    size = text.tokenizer.size
    largest = (size - 1 - np.arange(length + 1)) % size
    return Splits(
        train=Sequences(text.train, length),
        validation=Sequences(text.validation, length),
        num_classes=size,
        in_channels=0,
        fingerprint=text.fingerprint,
        extreme=Sequences(Part(largest, 0, len(largest)), length),
        about=text.tokenizer.note,
    )


class Sequences:
    """The sequences of a part of a text: sample i is its tokens from i times the length on, and those that follow each.

    Args:
        part: of the text.
        length: tokens of a sequence.
    """

    def __init__(self, part: Part, length: int) -> None:
        self.part, self.length = part, length

    def __len__(self) -> int:
        return (self.part.count - 1) // self.length

    def read_batch(self, indices: NDArray[np.int64], key: int) -> tuple[Tensor, Tensor]:
        """Return tokens and what follows them, int64, each of shape (n, length)."""
        del key  # nothing is random
        places = self.part.first + indices[:, None] * self.length + np.arange(self.length + 1)
        pieces = torch.from_numpy(self.part.tokens[places].astype(np.int64))
        return pieces[:, :-1].contiguous(), pieces[:, 1:].contiguous()
