"""LARS and LAMB: each layer's update has a length that follows from the layer's own norm.

Exact for any number of processes: the norms have the same bits wherever the gradients lie (`norms.py`), and the rest is
done element by element. Nothing in a step waits for the device.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from bigbatch.errors import InputError
from bigbatch.optim.norms import squared_norms

# ruff: noqa: SLF001 - torch's own optimizers are built on its _foreach operations, which have no public name


class LARS(torch.optim.Optimizer):
    """Momentum with a rate of its own for each layer (You et al. 2017, arXiv 1708.03888, algorithm 1).

        local = trust * |w| / (|g| + weight_decay * |w|);  1 if |w| or |g| is 0
        u' = momentum * u + local * (g + weight_decay * w)
        w' = w - lr * u'

    The rate stays outside the momentum, as in torch's SGD (arXiv 1706.02677, eq. 9). In the authors' algorithm it is
    inside, which would need a correction while the rate changes.

    Args:
        params: parameters or groups; in a group with `is_layerwise=False` local is 1: plain momentum.
        lr: the rate of all layers.
        momentum: m; 0 keeps no state.
        nesterov: step along local * (g + weight_decay * w) + m * u'.
        weight_decay: lambda.
        trust: the coefficient eta of the paper.

    Raises:
        InputError: in `step`, a gradient is sparse.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = LARS([weight], lr=1.0, trust=0.1)
    >>> weight.grad = torch.tensor([0.0, 100.0])
    >>> optimizer.step()  # by 0.1 * |w| = 0.5, whatever the gradient's length
    >>> weight.tolist()
    [3.0, 3.5]
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        trust: float = 0.001,
    ) -> None:
        settings = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "trust": trust}
        super().__init__(params, {"lr": lr, **settings, "is_layerwise": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            if parameters := with_gradient(group["params"]):
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients, decay, momentum = gradients_of(parameters), group["weight_decay"], group["momentum"]
        directions = list(torch._foreach_add(gradients, parameters, alpha=decay))
        if group["is_layerwise"]:
            weights, lengths = lengths_of(parameters), lengths_of(gradients)
            rates = ratio_or_one(group["trust"] * weights, lengths + decay * weights, unless_zero=(weights, lengths))
            multiply_each_(directions, rates)
        if momentum:
            buffers = [self._buffer(parameter) for parameter in parameters]
            torch._foreach_mul_(buffers, momentum)
            torch._foreach_add_(buffers, directions)
            directions = list(torch._foreach_add(directions, buffers, alpha=momentum)) if group["nesterov"] else buffers
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def _buffer(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


class LAMB(torch.optim.Optimizer):
    """Adam whose update of each layer is as long as the layer's weights (You et al. 2019, arXiv 1904.00962, alg. 2).

        m' = beta1 * m + (1 - beta1) * g;  v' = beta2 * v + (1 - beta2) * g^2
        u = (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + epsilon) + weight_decay * w
        w' = w - lr * |w| / |u| * u;  with |w| / |u| = 1 if either is 0

    Args:
        params: parameters or groups; in a group with `is_layerwise=False` |w| / |u| is 1: AdamW's update.
        lr: the rate of all layers.
        betas: of the two averages.
        epsilon: added to the root.
        weight_decay: lambda.

    Raises:
        InputError: in `step`, a gradient is sparse.

    >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = LAMB([weight], lr=0.1)
    >>> weight.grad = torch.tensor([0.0, 100.0])
    >>> optimizer.step()  # by 0.1 * |w| = 0.5, whatever the gradient's length
    >>> weight.tolist()
    [3.0, 3.5]
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        settings = {"betas": betas, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(params, {"lr": lr, **settings, "is_layerwise": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            if parameters := with_gradient(group["params"]):
                self._update(parameters, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        directions = self._adam_directions(parameters, group)
        torch._foreach_add_(directions, parameters, alpha=group["weight_decay"])
        if group["is_layerwise"]:
            weights, lengths = lengths_of(parameters), lengths_of(directions)
            multiply_each_(directions, ratio_or_one(weights, lengths, unless_zero=(weights, lengths)))
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def _adam_directions(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Bring both averages up to date, and return Adam's directions, corrected for their start at zero."""
        gradients, (beta1, beta2) = gradients_of(parameters), group["betas"]
        states = [self._advance(parameter) for parameter in parameters]
        means, squares = [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, gradients, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        roots = torch._foreach_div(squares, [1 - beta2 ** s["step"] for s in states])
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, group["epsilon"])
        directions = list(torch._foreach_div(means, [1 - beta1 ** s["step"] for s in states]))
        torch._foreach_div_(directions, roots)
        return directions

    def _advance(self, parameter: Tensor) -> dict[str, Any]:
        state: dict[str, Any] = self.state[parameter]
        if not state:
            state |= {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter), "step": 0}
        state["step"] += 1  # a plain number: a tensor on the device would have to be waited for
        return state


def with_gradient(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Return the parameters that have a gradient.

    Raises:
        InputError: one of the gradients is sparse.
    """
    found = [parameter for parameter in parameters if parameter.grad is not None]
    if any(gradient.is_sparse for gradient in gradients_of(found)):
        msg = "LARS and LAMB take no sparse gradients; make the embedding with sparse=False"
        raise InputError(msg)
    return found


def gradients_of(parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradients of parameters that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def lengths_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of each tensor, float64."""
    return squared_norms(tensors).sqrt()


def ratio_or_one(numerators: Tensor, denominators: Tensor, *, unless_zero: tuple[Tensor, Tensor]) -> Tensor:
    """Return the ratios, and 1 where either of the given lengths is 0.

    >>> lengths = torch.tensor([0.0, 2.0])
    >>> ratio_or_one(lengths, torch.tensor([0.0, 4.0]), unless_zero=(lengths, lengths)).tolist()
    [1.0, 0.5]
    """
    first, second = unless_zero
    return torch.where((first == 0) | (second == 0), torch.ones_like(numerators), numerators / denominators)


def multiply_each_(tensors: list[Tensor], factors: Tensor) -> None:
    """Multiply each tensor by its own factor, rounded to the tensor's dtype first."""
    rounded = {dtype: factors.to(dtype).unbind() for dtype in {tensor.dtype for tensor in tensors}}
    torch._foreach_mul_(tensors, [rounded[tensor.dtype][i] for i, tensor in enumerate(tensors)])
