"""Models of transformers by their type, each built from its configuration, without weights."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from bigbatch.errors import InputError, first_line, nearest
from bigbatch.models.libraries import check_arguments_of, load_library
from bigbatch.models.names import DETECTION
from bigbatch.models.transformers_detectors import check_type

if TYPE_CHECKING:
    from torch import nn

# What a loss is about, and the class of transformers that predicts it.
CLASSES: Final = {
    DETECTION: "AutoModelForObjectDetection",
    "token-cross-entropy": "AutoModelForCausalLM",
    "pixel-cross-entropy": "AutoModelForSemanticSegmentation",
    "cross-entropy": "AutoModelForImageClassification",
}
ARCHITECTURES: Final = "architectures"  # the field of a configuration that names a class
NUM_LABELS: Final = "num_labels"
POSITIONS: Final = "max_position_embeddings"
OF_OTHER_VOCABULARIES: Final = ("pad_token_id", "bos_token_id", "eos_token_id")


def build_transformers_model(
    model_type: str,
    *,
    task: str,
    num_classes: int,
    in_channels: int,
    sequence_length: int = 0,
    arguments: Mapping[str, object],
) -> "nn.Module":
    """Build a model of transformers; its parameters are drawn from torch's global generator.

    Args:
        model_type: such as "gpt2", "rt_detr_v2" or "segformer".
        task: the recipe's objective, or its loss, which decides what the model predicts.
        num_classes: of the data, or words of its vocabulary; of objects with the background. 0 if it does not say.
        in_channels: channels of the images; 0 if the data does not say, or has none.
        sequence_length: tokens of a sequence; 0 if the data has none.
        arguments: fields of the configuration. `architectures` may name the class, where the loss is the user's own.

    Raises:
        InputError: transformers is missing, it has no such model, or the arguments do not fit.
    """
    transformers, name = load_library("transformers"), f"transformers/{model_type}"
    if model_type not in (known := transformers.CONFIG_MAPPING):
        hint = nearest(model_type, list(known))
        msg = f"transformers has no type '{model_type}'; {hint if hint.startswith('did') else 'see its documentation'}"
        raise InputError(msg)
    if task == DETECTION:
        check_type(model_type)
    default = transformers.AutoConfig.for_model(model_type)
    check_arguments_of(name, arguments, _fields(default))
    given = _from_data(default, task, num_classes, in_channels)
    if sequence_length:
        given |= _of_a_text(default, sequence_length, arguments)
    config = _configured(name, transformers, model_type, given | dict(arguments))
    _check_classes(name, config, given)
    return _built(name, _chosen_class(name, transformers, task, config, arguments), config)


def _fields(config: Any) -> set[str]:  # noqa: ANN401 - a configuration of transformers
    known = {field.name for field in fields(config)} if hasattr(config, "__dataclass_fields__") else set(vars(config))
    return {field for field in known if not field.startswith("_")} | {
        *(*config.attribute_map, NUM_LABELS, ARCHITECTURES, "attn_implementation")
    }


def _from_data(config: Any, task: str, num_classes: int, in_channels: int) -> dict[str, object]:  # noqa: ANN401 - as above
    """Return the fields that follow from the data."""
    given: dict[str, object] = {}
    if task == "token-cross-entropy":
        given["vocab_size"] = num_classes
    elif task in CLASSES:
        given[NUM_LABELS] = num_classes - 1 if task == DETECTION else num_classes  # without the background
    if in_channels and hasattr(config, "num_channels"):
        given["num_channels"] = in_channels
    return {key: value for key, value in given.items() if not isinstance(value, int) or value > 0}


def _of_a_text(config: Any, sequence_length: int, arguments: Mapping[str, object]) -> dict[str, object]:  # noqa: ANN401 - as above
    """Return the fields of a model of texts: as many positions as a sequence has, and no token that it leaves out.

    The types' own tokens for padding are numbers of other vocabularies. Here they would be tokens without a gradient.
    """
    own = config.attribute_map.get(POSITIONS, POSITIONS)
    given: dict[str, object] = dict.fromkeys(OF_OTHER_VOCABULARIES)
    if hasattr(config, own) and not {own, POSITIONS} & arguments.keys():
        given[own] = sequence_length
    return given


def _configured(name: str, transformers: Any, model_type: str, given: Mapping[str, object]) -> Any:  # noqa: ANN401 - as above
    try:
        config = transformers.AutoConfig.for_model(model_type, **given)
    except MemoryError:
        raise
    except Exception as error:  # its checks raise errors of another library, which is no dependency of ours
        text = " ".join(str(error).split())
        msg = f"'{name}' does not take these model.arguments: {text}"
        raise InputError(msg) from error
    for field, value in {"use_cache": False, "use_pretrained_backbone": False}.items():
        if hasattr(config, field) and field not in given:
            setattr(config, field, value)
    return config


def _check_classes(name: str, config: Any, given: Mapping[str, object]) -> None:  # noqa: ANN401 - as above
    for field in {NUM_LABELS, "vocab_size"} & given.keys():
        needed, found = given[field], getattr(config, field)
        if isinstance(needed, int) and found < needed:
            msg = f"'{name}': {field} is {found}, but the data has {needed}; leave it out of model.arguments"
            raise InputError(msg)


def _chosen_class(
    name: str,
    transformers: Any,  # noqa: ANN401 - a module
    task: str,
    config: Any,  # noqa: ANN401 - as above
    arguments: Mapping[str, object],
) -> Any:  # noqa: ANN401 - a class of transformers
    if names := arguments.get(ARCHITECTURES):
        found = getattr(transformers, names[0] if isinstance(names, list | tuple) else str(names), None)
        if found is None or not hasattr(found, "_from_config"):
            msg = f"model.arguments: transformers has no model '{names}' for architectures"
            raise InputError(msg)
        return found
    if task not in CLASSES:
        msg = (
            f"'{name}' does not follow from '{task}'; name its class, as in "
            'model.arguments.architectures = ["GPT2LMHeadModel"]'
        )
        raise InputError(msg)
    auto = getattr(transformers, CLASSES[task])
    if type(config) not in auto._model_mapping:  # noqa: SLF001 - it says which types there are
        msg = f"'{name}' has no model for '{task}': transformers' {CLASSES[task]} does not know it"
        raise InputError(msg)
    return auto._model_mapping[type(config)]  # noqa: SLF001 - as above


def _built(name: str, kind: Any, config: Any) -> "nn.Module":  # noqa: ANN401 - as above
    try:
        model: nn.Module = kind._from_config(config)  # noqa: SLF001 - what AutoModel.from_config calls
    except (TypeError, ValueError, ImportError, RuntimeError) as error:
        msg = f"'{name}' cannot be built with these model.arguments: {first_line(error)}"
        raise InputError(msg) from error
    return model
