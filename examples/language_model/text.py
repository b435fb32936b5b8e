"""Sequences of bytes from a text, and a small GPT."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

NUM_BYTES = 256


class Sequences(Dataset):
    """Pieces of a text, each (bytes, the bytes that follow each of them)."""

    def __init__(self, text, length):
        self.text, self.length = torch.frombuffer(bytearray(text), dtype=torch.uint8), length

    def __len__(self):
        """Return the number of whole pieces."""
        return (len(self.text) - 1) // self.length

    def __getitem__(self, index):
        """Return a piece, int64 of shape (length,), and the same moved by one."""
        start = index * self.length
        piece = self.text[start : start + self.length + 1].long()
        return piece[:-1], piece[1:]


def data(path="", length=64, validation_share=0.1, most_bytes=0):
    """Return (training dataset, validation dataset); without a path, of the help texts that come with Python."""
    if path:
        with open(path, "rb") as file:
            text = file.read()
    else:
        from pydoc_data.topics import topics

        text = "\n".join(topics[name] for name in sorted(topics)).encode()
    text = text[: most_bytes or None]
    split = int(len(text) * (1 - validation_share))
    return Sequences(text[:split], length), Sequences(text[split:], length)


class Block(nn.Module):
    """Attention to what comes before, then a layer for each byte."""

    def __init__(self, width, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.projection = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x):
        """Map (n, length, width) to the same shape."""
        n, length, width = x.shape
        heads = self.attention(self.norm1(x)).view(n, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True)
        x = x + self.projection(attended.transpose(1, 2).reshape(n, length, width))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """A causal language model of bytes."""

    def __init__(self, length=64, width=64, num_layers=2, num_heads=4):
        super().__init__()
        self.embedding = nn.Embedding(NUM_BYTES, width)
        self.position = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(num_layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, NUM_BYTES, bias=False)

    def forward(self, tokens):
        """Map bytes (n, length) to logits (n, length, 256)."""
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))
