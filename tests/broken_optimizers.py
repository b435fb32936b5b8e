"""Optimizers, each built to break one rule; and a few that are right."""

import torch

from bigbatch.optim.layerwise import LARS
from rate_absorbed import RateAbsorbedSGD


def adamw(groups, lr):
    """Return an optimizer whose decay is right."""
    return torch.optim.AdamW(groups, lr=lr)


def adam_with_l2(groups, lr):
    """Return an optimizer that normalises decay together with the gradient."""
    return torch.optim.Adam(groups, lr=lr)


class FixedDecay(torch.optim.SGD):
    """Subtracts lambda * w at every rate."""

    @torch.no_grad()
    def step(self, closure=None):
        decays = [group["weight_decay"] for group in self.param_groups]
        for group, decay in zip(self.param_groups, decays, strict=True):
            for parameter in group["params"]:
                parameter.mul_(1 - decay)
            group["weight_decay"] = 0.0
        super().step(closure)
        for group, decay in zip(self.param_groups, decays, strict=True):
            group["weight_decay"] = decay


def fixed_decay(groups, lr):
    return FixedDecay(groups, lr=lr, momentum=0.9)


def no_decay(groups, lr):
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=lr, momentum=0.9)


def decays_all(groups, lr):
    decay = max(group["weight_decay"] for group in groups) or 5e-4
    return torch.optim.SGD([p for group in groups for p in group["params"]], lr=lr, weight_decay=decay)


def lars_without_decay(groups, lr):
    return LARS([{**group, "weight_decay": 0.0} for group in groups], lr=lr)


class Corrected(torch.optim.SGD):
    """Multiplies torch's momentum by the ratio of the rates, which is a bug."""

    last = None

    @torch.no_grad()
    def step(self, closure=None):
        rate = self.param_groups[0]["lr"]
        for state in self.state.values():
            if state.get("momentum_buffer") is not None and self.last:
                state["momentum_buffer"].mul_(rate / self.last)
        self.last = rate
        super().step(closure)


def corrected(groups, lr):
    return Corrected(groups, lr=lr, momentum=0.9)


def absorbing(groups, lr):
    return RateAbsorbedSGD(groups, lr=lr, momentum=0.9)


class Anonymous(RateAbsorbedSGD):
    """Absorbs the rate, and does not call its momentum so."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["momentum"] = 0.9
        super().step(closure)
        for group in self.param_groups:
            del group["momentum"]


def anonymous(groups, lr):
    return Anonymous(groups, lr=lr)


def head_faster(groups, lr):
    """Return an optimizer that is right, and whose last parameters have ten times the rate."""
    body, head = groups
    return torch.optim.SGD([body, {**head, "lr": 10 * lr}], lr=lr, momentum=0.9)


def norms_decay(groups, lr):
    """Decay one norm too. It cannot be built for a single bias."""
    weights, rest = groups
    one, *others = rest["params"]
    assert others
    return torch.optim.SGD([{**weights, "params": [*weights["params"], one]}, {**rest, "params": others}], lr=lr)


def by_depth(groups, lr, model):
    """Return an optimizer that is right, and was made from the model alone."""
    names = {id(p): name for name, p in model.named_parameters()}
    return torch.optim.SGD(
        [{**g, "params": [p], "lr_scale": 0.5 ** ("fc" not in names[id(p)])} for g in groups for p in g["params"]],
        lr=lr,
        momentum=0.9,
    )
