"""Fields of a recipe that say nothing, because another field has switched off what they are about."""

from collections.abc import Mapping
from typing import Final

# What a field's value makes idle.
IDLE: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("warmup.kind", "none"): ("warmup.epochs",),
    ("schedule.kind", "cosine"): ("schedule.milestones", "schedule.factor"),
    ("schedule.kind", "constant"): ("schedule.milestones", "schedule.factor"),
    ("growth.kind", "schedule"): ("growth.noise_fraction",),
    ("growth.kind", "none"): ("growth.start", "growth.noise_fraction"),
}


def without_idle(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that say something.

    >>> without_idle({"warmup.kind": "none", "warmup.epochs": 5.0, "epochs": 30})
    {'warmup.kind': 'none', 'epochs': 30}
    """
    idle = {name for (field, value), names in IDLE.items() if fields.get(field) == value for name in names}
    return {name: value for name, value in fields.items() if name not in idle}
