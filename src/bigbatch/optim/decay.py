"""Which parameters decay: told by what a parameter is, by the model's own word, or by the recipe's patterns."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from torch import nn

from bigbatch.errors import InputError
from bigbatch.models.plain_names import plain_name, with_plain_names
from bigbatch.recipe import Optimizer

WEIGHT, NORM, BIAS, TOKEN = "weight", "norm or scale", "bias", "token or position"

Norms: Final = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - no public base class
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
# Their weights are matrices, also those of one row or one column.
Matrices: Final = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,  # noqa: SLF001 - no public base class
    nn.Embedding,
    nn.EmbeddingBag,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.utils.parametrize.ParametrizationList,
)
TOKENS: Final = (
    "token",
    "pos_emb",
    "position",
    "rel_pos",
    "relative_",
)  # in the names of what is added, not multiplied


@dataclass(frozen=True)
class Part:
    """A trained parameter, what it is, and whether it decays."""

    name: str
    parameter: nn.Parameter
    kind: str
    decays: bool


def parts_of(model: nn.Module, recipe: Optimizer) -> list[Part]:
    """Return the trained parameters, each with what it is and whether it decays.

    Weights decay: matrices, kernels and embeddings, which multiply what a layer is given. The others decay only if
    the recipe says so (arXiv 1706.02677, section 5.1). Those are normalisations, and every other vector or single
    number, such as the scales of LayerScale and of logits; biases; class tokens and positions. A model can name more
    in `no_weight_decay()`, as timm's do. The recipe's patterns come before all that.

    Raises:
        InputError: a pattern matches no parameter, or patterns contradict each other.
    """
    names = {plain_name(name): parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    kinds, spared = _kinds(model), _spared_by_model(model)
    decaying = {WEIGHT} | ({NORM} if recipe.weight_decay_on_norms else set())
    decaying |= {BIAS} if recipe.weight_decay_on_biases else set()
    on, off = (_matched(names, field, getattr(recipe, field)) for field in ("weight_decay_on", "no_weight_decay"))
    if both := on & off:
        msg = f"optimizer.weight_decay_on and optimizer.no_weight_decay both match '{min(both)}'; make one narrower"
        raise InputError(msg)
    parts = []
    for name, parameter in names.items():
        kind = kinds[id(parameter)]
        by_kind = kind in decaying and id(parameter) not in spared
        parts.append(Part(name, parameter, kind, (by_kind or name in on) and name not in off))
    return parts


def in_short(names: Iterable[str]) -> list[str]:
    """Return names with "*" for each number in them, each once, with how many they are.

    >>> in_short(["layers.0.norm.weight", "layers.1.norm.weight", "scale"])
    ['layers.*.norm.weight (2)', 'scale']
    """
    counts = Counter(re.sub(r"\d+", "*", name) if re.search(r"\.\d+\.|^\d+\.", name) else name for name in names)
    return [f"{name} ({count})" if count > 1 else name for name, count in counts.items()]


def _kinds(model: nn.Module) -> dict[int, str]:
    """Return what each parameter is, by its id."""
    kinds: dict[int, str] = {}
    for path, module in model.named_modules():
        if isinstance(module, Norms):
            kinds |= dict.fromkeys(map(id, module.parameters()), NORM)
        own = dict(module.named_parameters(recurse=False))
        is_norm = _is_norm(module, own)
        for name, parameter in own.items():
            called = path.rpartition(".")[2] if isinstance(module, nn.utils.parametrize.ParametrizationList) else name
            kinds.setdefault(id(parameter), NORM if is_norm else _kind(called, parameter, module))
    return kinds


def _is_norm(module: nn.Module, own: Mapping[str, nn.Parameter]) -> bool:
    """Tell whether a module does no more than scale and shift: it has nothing but vectors, and not biases alone."""
    is_leaf = next(module.children(), None) is None and not isinstance(module, Matrices)
    return is_leaf and all(map(_is_vector, own.values())) and not all(map(_is_bias, own))


def _kind(name: str, parameter: nn.Parameter, module: nn.Module) -> str:
    if _is_bias(name):
        return BIAS
    if parameter.ndim > 1 and isinstance(module, Matrices):
        return WEIGHT
    stands_for_a_sample = parameter.ndim == 3 and len(parameter) == 1  # noqa: PLR2004 - (1, tokens, channels)
    if stands_for_a_sample or any(word in name.lower() for word in TOKENS):
        return TOKEN
    return NORM if _is_vector(parameter) else WEIGHT


def _is_vector(parameter: nn.Parameter) -> bool:
    """Tell whether it is a vector or a number by its sizes, whatever its shape: (c), (c, 1, 1), (1, 1)."""
    return sum(size > 1 for size in parameter.shape) <= 1


def _is_bias(name: str) -> bool:
    """Tell by its name: `bias`, an attention's `in_proj_bias`, a recurrent layer's `bias_hh_l0`."""
    return name.startswith("bias") or name.endswith("bias")


def _spared_by_model(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that `no_weight_decay()` names, of the model or of a module in it."""
    spared = set()
    for module in model.modules():
        if callable(names := getattr(module, "no_weight_decay", None)):
            own = with_plain_names(dict(module.named_parameters()))
            spared |= {id(own[name]) for name in names() if name in own}
    return spared


def _matched(names: Collection[str], field: str, patterns: Collection[str]) -> set[str]:
    matches = {pattern: {name for name in names if fnmatchcase(name, pattern)} for pattern in patterns}
    for pattern, found in matches.items():
        if not found:
            msg = f"optimizer.{field}: no trained parameter of the model matches '{pattern}'"
            raise InputError(msg)
    return set().union(*matches.values())
