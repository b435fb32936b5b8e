"""An optimizer's settings at a minibatch size."""

import math
from dataclasses import replace

from bigbatch.errors import InputError
from bigbatch.recipe.sections.optimizer import BY_SQUARE_ROOT, NO_TIMESCALE, OPTIMIZERS, Optimizer
from bigbatch.recipe.sections.scaling import SQUARE_ROOT, TIMESCALE, Scaling
from bigbatch.rules.optimizer_scaling import square_root_beta, square_root_epsilon, timescale_weight_decay
from bigbatch.rules.scaling import SCALING_RULES


def scale_optimizer(optimizer: Optimizer, scaling: Scaling, *, minibatch_size: int, reference: int) -> Optimizer:
    """Return the optimizer's settings at a minibatch size.

    Args:
        optimizer: its settings at the reference.
        scaling: the rule "square-root" scales betas and epsilon of adam and adamw; "timescale" scales weight decay.
        minibatch_size: samples per update (kn).
        reference: samples per update of the reference.

    Raises:
        InputError: the betas allow no such minibatch size, the optimizer's decay has no timescale, or the decay
            becomes infinite.

    >>> adamw = Optimizer("adamw", weight_decay=0.01)
    >>> scaled = scale_optimizer(adamw, Scaling("square-root", "timescale"), minibatch_size=1024, reference=256)
    >>> scaled.betas, scaled.epsilon, scaled.weight_decay
    ((0.6, 0.996), 5e-09, 0.02)
    """
    if scaling.rule == SQUARE_ROOT and optimizer.name in BY_SQUARE_ROOT:
        beta1, beta2 = (
            square_root_beta(b, minibatch_size=minibatch_size, reference=reference) for b in optimizer.betas
        )
        epsilon = square_root_epsilon(optimizer.epsilon, minibatch_size=minibatch_size, reference=reference)
        optimizer = replace(optimizer, betas=(beta1, beta2), epsilon=epsilon)
    if scaling.weight_decay == TIMESCALE:
        decay = _scaled_decay(optimizer, scaling.rule, minibatch_size=minibatch_size, reference=reference)
        optimizer = replace(optimizer, weight_decay=decay)
    return optimizer


def _scaled_decay(optimizer: Optimizer, rule: str, *, minibatch_size: int, reference: int) -> float:
    if optimizer.name in NO_TIMESCALE:
        known = ", ".join(name for name in OPTIMIZERS if name not in NO_TIMESCALE)
        msg = f"scaling.weight_decay 'timescale' is for {known}, not '{optimizer.name}'; use keep"
        raise InputError(msg)
    if optimizer.decay is None:
        msg = (
            f"scaling.weight_decay 'timescale' needs a decay to scale: set optimizer.weight_decay of '{optimizer.name}'"
        )
        raise InputError(msg)
    rate_ratio = SCALING_RULES[rule](1.0, minibatch_size=minibatch_size, reference=reference)
    decay = timescale_weight_decay(
        optimizer.decay, minibatch_size=minibatch_size, reference=reference, rate_ratio=rate_ratio
    )
    if not math.isfinite(decay):
        msg = f"the weight decay becomes infinite: {decay:g} after scaling; set scaling.weight_decay = keep"
        raise InputError(msg)
    return decay
