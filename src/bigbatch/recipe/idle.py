"""Which fields of a recipe have an effect at its minibatch size; the others cannot make two trainings differ."""

from collections.abc import Mapping
from typing import Final

from bigbatch.recipe.sections.optimizer import USED_BY
from bigbatch.recipe.sections.schedule import KINDS, OPTIONS, used_by
from bigbatch.user_code import is_user_code

# At the reference's minibatch size each of these rules gives the reference rate.
FIXED_RULES: Final = ("linear", "square-root", "none")

# The fields that have no effect if another field has a value.
SWITCHED_OFF: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("warmup.kind", "none"): ("warmup.epochs",),
    ("schedule.kind", "one-cycle"): ("warmup.kind", "warmup.epochs"),
    ("growth.kind", "schedule"): ("growth.noise_fraction",),
    ("growth.kind", "none"): ("growth.start", "growth.noise_fraction"),
    ("scaling.rule", "adascale"): ("warmup.kind", "warmup.epochs"),
}


def effective_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a recipe, each as `section.field`, that its training depends on.

    At or below the reference's minibatch size there is no warmup (section 2.2 of arXiv 1706.02677). At that size all
    fixed scaling rules are equal, and nothing grows. If it is one worker, the size of a worker has no effect either.
    Two recipes with equal effective fields are the same training.

    Args:
        fields: of the recipe (`flat_fields`). They may be incomplete, or of a recipe that is refused.

    >>> at = {"reference.minibatch_size": 16, "scaling.rule": "linear", "warmup.kind": "gradual", "warmup.epochs": 5.0}
    >>> effective_fields({**at, "minibatch_size": 16, "epochs": 30})
    {'reference.minibatch_size': 16, 'minibatch_size': 16, 'epochs': 30}
    >>> effective_fields({**at, "minibatch_size": 64, "warmup.kind": "none"}) == {
    ...     **{"reference.minibatch_size": 16, "scaling.rule": "linear", "warmup.kind": "none", "minibatch_size": 64}
    ... }
    True
    """
    on = switched_on_fields(fields)
    return {name: value for name, value in on.items() if not _is_idle_at_its_size(name, fields)}


def switched_on_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that no other field switches off: they have an effect at some minibatch size."""
    off = {name for (field, value), names in SWITCHED_OFF.items() if fields.get(field) == value for name in names}
    if fields.get("warmup.iterations") or fields.get("warmup.samples"):
        off.add("warmup.epochs")
    if isinstance(kind := fields.get("schedule.kind"), str) and (kind in KINDS or is_user_code(kind)):
        off |= {f"schedule.{name}" for name in OPTIONS if name not in used_by(kind)}
    off |= _of_other_optimizers(fields)
    return {name: value for name, value in fields.items() if name not in off}


def _of_other_optimizers(fields: Mapping[str, object]) -> set[str]:
    """Return the fields of the optimizer that it does not use."""
    name = fields.get("optimizer.name")
    return {f"optimizer.{field}" for field, users in USED_BY.items() if name is not None and name not in users}


def _is_idle_at_its_size(name: str, fields: Mapping[str, object]) -> bool:
    size, reference = fields.get("minibatch_size"), fields.get("reference.minibatch_size")
    is_growing = fields.get("growth.kind", "none") != "none"
    initial = (fields.get("growth.start") or reference) if is_growing else size
    if not (isinstance(initial, int) and isinstance(reference, int)):
        return False
    if name.startswith("warmup."):
        return initial <= reference
    is_the_reference = size == initial == reference
    if name.startswith("scaling."):
        return is_the_reference and fields.get("scaling.rule") in FIXED_RULES
    is_one_worker = name == "worker_minibatch_size" and fields[name] == size
    return is_the_reference and (is_one_worker or name.startswith("growth."))
