"""Models of torchvision and timm, by the names that the libraries give them; without their weights.

A library is imported when one of its models is built, and never before.
"""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from bigbatch.errors import InputError, first_line, nearest
from bigbatch.models.names import DETECTION
from bigbatch.user_code import is_user_code

if TYPE_CHECKING:
    from torch import nn

EXTRAS: Final = {"torchvision": "detection", "timm": "timm", "transformers": "transformers"}
RGB: Final = 3
# No outputs besides the logits, and no warning about the first weights.
WITHOUT_AUXILIARIES: Final = {"aux_logits": False, "init_weights": True}
OF_ITS_OWN: Final[Mapping[str, Mapping[str, object]]] = dict.fromkeys(
    ("googlenet", "inception_v3"), WITHOUT_AUXILIARIES
)


def build_library_model(
    name: str, *, task: str, num_classes: int, in_channels: int, arguments: Mapping[str, object]
) -> "nn.Module":
    """Build a model of a library; its parameters are drawn from torch's global generator.

    Args:
        name: "torchvision/NAME" or "timm/NAME".
        task: the recipe's objective, or its loss.
        num_classes: of the data; 0 if it does not say.
        in_channels: channels of the images; 0 if the data does not say, or has none.
        arguments: of the library's own function.

    Raises:
        InputError: the library is missing, it has no such model, or the arguments or the data do not fit it.
    """
    library, _, own_name = name.partition("/")
    build = {"torchvision": _build_torchvision, "timm": _build_timm}[library]
    given = {"num_classes": num_classes, "in_channels": in_channels}
    return build(name, own_name, task, given, arguments)


def load_library(name: str) -> ModuleType:
    """Import a module of a library.

    Raises:
        InputError: it is missing, or does not work with this torch; the line says what to install.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # a RuntimeError: it was built for another torch
        library = name.partition(".")[0]
        msg = f"{library} cannot be imported ({first_line(error)}): pip install 'bigbatch[{EXTRAS[library]}]'"
        raise InputError(msg) from error


def parameters_of(*functions: Callable[..., Any]) -> set[str]:
    """Return the names of the parameters of functions, or of classes."""
    signatures = [inspect.signature(function).parameters for function in functions if function is not object]
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {name for found in signatures for name, parameter in found.items() if parameter.kind in kinds}


def check_arguments_of(
    name: str, arguments: Mapping[str, object], known: Collection[str], *, also: Collection[str] = ()
) -> None:
    """Refuse arguments that a model does not know, which a library may leave unread.

    Args:
        name: of the model.
        arguments: that it shall be given.
        known: that it takes.
        also: what it takes besides.

    Raises:
        InputError: with the nearest name.
    """
    for argument in arguments:
        if argument not in known:
            msg = f"model.arguments: '{name}' does not take '{argument}'; {nearest(argument, sorted({*known, *also}))}"
            raise InputError(msg)


def _build_torchvision(
    name: str, own_name: str, task: str, given: Mapping[str, int], arguments: Mapping[str, object]
) -> "nn.Module":
    from bigbatch.models.torchvision_detectors import keep_image_sizes

    models = load_library("torchvision.models")
    _check_own_name(name, own_name, models.list_models())
    build = models.get_model_builder(own_name)
    is_detector = build.__module__.startswith("torchvision.models.detection")
    _check_task(name, task, is_detector=is_detector)
    _check_rgb(name, given["in_channels"])
    own: dict[str, object] = {"weights": None, "num_classes": given["num_classes"]}
    if "weights_backbone" in parameters_of(build):
        own["weights_backbone"] = None
    own.update(OF_ITS_OWN.get(own_name.lower(), {}))
    own.update(arguments)
    _check_num_classes(name, own["num_classes"])
    if is_detector:  # what it does not know, it would leave unread
        kind = inspect.get_annotations(build, eval_str=True)["return"]
        check_arguments_of(name, arguments, parameters_of(build, *kind.__mro__))
    model = _called(name, build, own)
    return keep_image_sizes(model, arguments) if is_detector else model


def _build_timm(
    name: str, own_name: str, task: str, given: Mapping[str, int], arguments: Mapping[str, object]
) -> "nn.Module":
    timm = load_library("timm")
    if not timm.is_model(own_name):
        _check_own_name(name, own_name, timm.list_models())
    _check_task(name, task, is_detector=False)
    own = {"num_classes": given["num_classes"], "in_chans": given["in_channels"] or RGB} | dict(arguments)
    _check_num_classes(name, own["num_classes"])
    return _called(name, timm.create_model, {"model_name": own_name, "pretrained": False} | own)


def _check_own_name(name: str, own_name: str, known: list[str]) -> None:
    if own_name.lower() not in known:
        library = name.partition("/")[0]
        hint = nearest(own_name, known)
        hint = hint if hint.startswith("did") else f"it has {len(known)} models"
        msg = f"{library} has no model '{own_name}'; {hint}"
        raise InputError(msg)


def _check_task(name: str, task: str, *, is_detector: bool) -> None:
    if is_user_code(task) or is_detector == (task == DETECTION):
        return
    if is_detector:
        msg = f"model '{name}' is a detector; set objective = \"{DETECTION}\""
    else:
        msg = f"objective '{DETECTION}' needs a detector, not model '{name}'; such as retinanet-resnet50"
    raise InputError(msg)


def _check_rgb(name: str, in_channels: int) -> None:
    if in_channels not in {0, RGB}:
        msg = f"'{name}' takes images of 3 channels, not {in_channels}; a model of timm takes any number"
        raise InputError(msg)


def _check_num_classes(name: str, num_classes: object) -> None:
    if not num_classes:
        msg = f"'{name}' must know how many classes there are: give the training dataset `classes`, or model.arguments"
        raise InputError(msg)


def _called(name: str, build: Callable[..., Any], arguments: Mapping[str, object]) -> "nn.Module":
    try:
        model: nn.Module = build(**arguments)
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        msg = f"'{name}' does not take these model.arguments: {first_line(error)}"
        raise InputError(msg) from error
    return model
