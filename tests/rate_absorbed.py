"""The optimizer that bigbatch refuses or corrects."""

import torch


class RateAbsorbedSGD(torch.optim.Optimizer):
    """Momentum that absorbs the rate: v' = m*v + eta*g, w' = w - v' (arXiv 1706.02677, eq. 10).

    Equal to torch's form (eq. 9) only while the rate stands still; for a changing one it needs `correct_momentum`.
    Caffe2 and several other trainers use it; it is here to be recognised and corrected.
    """

    def __init__(self, params, *, lr, momentum=0.9, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                velocity = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(parameter))
                velocity.mul_(group["momentum"]).add_(gradient, alpha=group["lr"])
                parameter.sub_(velocity)
