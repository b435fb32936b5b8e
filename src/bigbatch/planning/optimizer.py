"""What a plan says about the optimizer: each setting at the minibatch size, with its rule and source."""

from typing import Any, Final

from bigbatch.recipe import Recipe
from bigbatch.recipe.sections.optimizer import ADAM_LIKE, BY_SQUARE_ROOT, LAYERWISE, NO_TIMESCALE, WITH_MOMENTUM
from bigbatch.recipe.sections.scaling import SQUARE_ROOT, TIMESCALE

PAPER: Final = "arXiv 1706.02677"
MALLADI: Final = "Malladi 2022, arXiv 2205.10287"
LAMB: Final = "You 2019, arXiv 1904.00962"
AVERAGED: Final = "the average is evaluated (EMA, Busbridge 2023, arXiv 2307.13813)"
TIMESCALE_SOURCE: Final = "Wang and Aitchison 2024, arXiv 2405.13698"
NAMES: Final = {
    "lars": "layer-wise rates over momentum, You 2017, arXiv 1708.03888",
    "lamb": f"layer-wise rates over Adam, {LAMB}",
    "adam": "Kingma and Ba 2015, arXiv 1412.6980",
    "adamw": "Adam with decoupled weight decay, Loshchilov and Hutter 2019, arXiv 1711.05101",
}


def optimizer_values(recipe: Recipe) -> dict[str, Any]:
    """Return the scaled settings that the recipe's optimizer uses, and the decay of the average if there is one.

    >>> from bigbatch.recipe.presets import digits
    >>> list(optimizer_values(digits()))[:4]
    ['optimizer', 'momentum', 'nesterov', 'weight_decay']
    """
    optimizer = recipe.scaled_optimizer
    values: dict[str, Any] = {"optimizer": optimizer.name}
    if optimizer.name in ADAM_LIKE:
        values |= {"betas": list(optimizer.betas), "epsilon": optimizer.epsilon}
    elif optimizer.name in WITH_MOMENTUM:
        values |= {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    if optimizer.name == "lars":
        values["trust"] = optimizer.trust
    if optimizer.decay is not None:
        values |= {
            "weight_decay": optimizer.decay,
            "weight_decay_rule": recipe.scaling.weight_decay,
            "weight_decay_on_norms": optimizer.weight_decay_on_norms,
            "weight_decay_on_biases": optimizer.weight_decay_on_biases,
        }
    if optimizer.clip_norm:
        values["clip_norm"] = optimizer.clip_norm
    return values | (
        {"average_decay": recipe.average_decay(recipe.initial_minibatch_size)} if recipe.average.decay else {}
    )


def optimizer_rules(recipe: Recipe) -> dict[str, str]:
    """Return the rule and source of each row about the optimizer in the plan's table."""
    name = recipe.optimizer.name
    rules = {"optimizer": NAMES[name]} if name in NAMES else {}
    if name in ADAM_LIKE:
        rules |= _adam_rules(name, is_scaled=recipe.scaling.rule == SQUARE_ROOT)
    elif name in WITH_MOMENTUM:
        form = "this form needs" if name == "lars" else "torch's form needs"
        rules |= {
            "momentum": f"kept; {form} no correction ({PAPER}, eq. 9)",
            "nesterov": f"kept ({PAPER}, section 2.1)",
        }
    if name == "lars":
        rules["trust"] = "a layer's update beside its weights; kept (arXiv 1708.03888, eq. 6)"
    if recipe.optimizer.decay is not None:
        rules["weight_decay"] = _weight_decay_rule(recipe)
    if recipe.optimizer.clip_norm:
        rules["clip_norm"] = "kept: of the mean gradient over the minibatch, before the update"
    if recipe.average.decay:
        rules["average_decay"] = f"rho^kappa; {AVERAGED}"
    return rules


def rate_source(recipe: Recipe, source: str) -> str:
    """Return the source of the scaled rate; the square-root rule has other sources for adam, adamw and lamb."""
    if recipe.scaling.rule != SQUARE_ROOT:
        return source
    if recipe.optimizer.name == "lamb":
        return f"square-root rule, {LAMB}"
    return f"square-root rule, with betas and epsilon, {MALLADI}" if recipe.optimizer.name in BY_SQUARE_ROOT else source


def _adam_rules(name: str, *, is_scaled: bool) -> dict[str, str]:
    if name not in BY_SQUARE_ROOT:
        return {"betas": f"kept ({LAMB})", "epsilon": "kept, likewise"}
    if not is_scaled:
        return {"betas": "kept; scaling.rule=square-root scales them", "epsilon": "kept, likewise"}
    return {"betas": f"1 - kappa * (1 - beta) ({MALLADI})", "epsilon": f"epsilon / sqrt(kappa) ({MALLADI})"}


def _weight_decay_rule(recipe: Recipe) -> str:
    name = recipe.optimizer.name
    if recipe.scaling.weight_decay == TIMESCALE:
        return f"lambda * kappa / (the rate's factor): the same time in epochs ({TIMESCALE_SOURCE})"
    if name == "adamw":
        return f"kept: it acts within kn / (rate * lambda) samples; 'timescale' keeps those ({TIMESCALE_SOURCE})"
    if name in LAYERWISE:
        return "kept: within the layer's own rate"
    if name in NO_TIMESCALE:
        return "kept: of the gradient, before it is divided by its size"
    return f"kept: of the weights, not of the loss ({PAPER}, eq. 8)"
