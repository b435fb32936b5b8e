"""The label of a recipe: a few words for each field in which it differs from another."""

from collections.abc import Mapping
from typing import Final

from bigbatch.printable import printable
from bigbatch.runs.contract import in_words

LONGEST: Final = 48

# Words for a field's value.
PHRASES: Final[Mapping[tuple[str, object], str]] = {
    ("scaling.rule", "linear"): "linear",
    ("scaling.rule", "square-root"): "square-root rule",
    ("scaling.rule", "none"): "rate not scaled",
    ("scaling.rule", "adascale"): "AdaScale",
    ("warmup.kind", "none"): "no warmup",
    ("warmup.kind", "constant"): "constant warmup",
    ("warmup.kind", "gradual"): "gradual warmup",
    ("model.zero_gamma", False): "gamma 1 everywhere",
    ("model.zero_gamma", True): "gamma 0 at the blocks' ends",
    ("optimizer.nesterov", False): "no Nesterov",
    ("optimizer.nesterov", True): "Nesterov",
    ("optimizer.weight_decay_on_norms", True): "weight decay on norms",
    ("optimizer.weight_decay_on_biases", True): "weight decay on biases",
    ("model.dropout", 0.0): "no dropout",
    ("growth.kind", "none"): "minibatch does not grow",
    ("growth.kind", "schedule"): "minibatch grows as the schedule lowers the rate",
    ("growth.kind", "noise-scale"): "minibatch follows the noise scale",
    ("scaling.weight_decay", "keep"): "weight decay not scaled",
    ("average.decay", 0.0): "no average of the weights",
}
# Words for a field whose value needs its name.
WITH_VALUE: Final[Mapping[str, str]] = {
    "warmup.epochs": "warmup of {} epochs",
    "epochs": "{} epochs",
    "worker_minibatch_size": "worker minibatch {}",
    "reference.minibatch_size": "reference minibatch {}",
    "reference.learning_rate": "reference rate {}",
    "schedule.kind": "{} schedule",
    "schedule.milestones": "milestones {}",
    "schedule.factor": "steps of {}",
    "optimizer.name": "{}",
    "optimizer.momentum": "momentum {}",
    "optimizer.weight_decay": "weight decay {}",
    "model.dropout": "dropout {}",
    "data.augmentation": "augmentation {}",
    "scaling.weight_decay": "weight decay scaled ({})",
    "growth.start": "minibatch grows from {}",
    "growth.noise_fraction": "up to {} of the noise scale",
    "average.decay": "average of the weights, {}",
    "precision": "{}",
    "loss": "loss {}",
    "reduction": "{} reduction",
}


def variant_label(changed: Mapping[str, object]) -> str:
    """Return a name for a recipe that differs from another in these fields.

    >>> variant_label({"scaling.rule": "none", "warmup.kind": "none"})
    'rate not scaled, no warmup'
    >>> variant_label({"optimizer.momentum": 0.8, "optimizer.arguments.eps": 1e-8})
    'momentum 0.8, optimizer.arguments.eps 1e-08'
    """
    return ", ".join(_phrase(field, value) for field, value in changed.items())


def _phrase(field: str, value: object) -> str:
    known = PHRASES.get((field, value)) if isinstance(value, bool | int | float | str) else None
    text = known or WITH_VALUE.get(field, f"{field} {{}}").replace("{}", in_words(value))
    return shortened(printable(text), LONGEST)


def shortened(text: str, longest: int) -> str:
    """Return the text, or its beginning and an ellipsis.

    >>> shortened("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
