"""Small causal language models, as a user of the command would bring them."""

import torch
from torch import nn
from torch.nn import functional


class GPT(nn.Module):
    """One layer with dropout, whose head may share the embedding's weights."""

    def __init__(self, num_tokens=256, length=16, num_outputs=0, *, tied=False, positions="embedding", causal=True):
        super().__init__()
        self.causal = causal
        self.wte = nn.Embedding(num_tokens, 16)
        self.wpe = nn.Embedding(length, 16) if positions == "embedding" else nn.Parameter(torch.zeros(length, 16))
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.head = nn.Linear(16, num_outputs or num_tokens, bias=False)
        if tied:
            self.head.weight = self.wte.weight

    def forward(self, tokens):
        """Map tokens (n, length) to logits (n, length, outputs)."""
        length = tokens.shape[1]
        places = self.wpe(torch.arange(length)) if isinstance(self.wpe, nn.Embedding) else self.wpe
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        return self.head(self.layer(self.wte(tokens) + places, src_mask=mask, is_causal=self.causal))


class Bag(nn.Module):
    """A table of logits that is no nn.Embedding."""

    def __init__(self, num_tokens=256):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_tokens, num_tokens))

    def forward(self, tokens):
        """Map tokens (n, length) to logits (n, length, tokens)."""
        return functional.embedding(tokens, self.table)


def with_a_hidden_token(samples):
    """Return a batch in which the second token is hidden, and is the only one to be foretold."""
    tokens = torch.stack([tokens for tokens, _ in samples])
    targets = torch.full_like(tokens, -100)
    targets[:, 1], hidden = tokens[:, 1], tokens.clone()
    hidden[:, 1] = 0
    return hidden, targets


def as_table(samples):
    """Return a batch by names."""
    tokens, following = (torch.stack(parts) for parts in zip(*samples, strict=True))
    return {"tokens": tokens, "following": following}
