"""Models by name."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bigbatch.errors import InputError
from bigbatch.models.names import CIFAR, DETECTOR, IMAGENET, LIBRARY, check_model_name
from bigbatch.user_code import call_user_code, is_user_code

if TYPE_CHECKING:
    from torch import nn


def build_model(  # noqa: PLR0913 - each is a part of the recipe
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    task: str = "cross-entropy",
    sequence_length: int = 0,
    width: int = 0,
    stem_pool: bool = False,
    zero_gamma: bool = True,
    dropout: float = 0.0,
    arguments: Mapping[str, object] | None = None,
) -> "nn.Module":
    """Build the model that a recipe names; its parameters are drawn from torch's global generator.

    Args:
        name: one of ours, one of a library, or `package.module:callable`, which is called with `arguments` alone.
        num_classes: width of the logits; of a detector with the background.
        in_channels: channels of the images.
        task: the recipe's objective, or its loss, which decides what kind of model a library builds.
        sequence_length: tokens of a sequence of the data; 0 if it is no text.
        width: channels of the first stage; 0 is the family's own.
        stem_pool: halve a small image after the stem.
        zero_gamma: start each residual block as the identity.
        dropout: probability of dropping a feature before the classifier.
        arguments: keyword arguments of the user's callable, of the library's model, or of torchvision's detector.

    Raises:
        InputError: an unknown name, a library that is missing, or arguments that the model does not take.
    """
    if is_user_code(name):
        return _build_user_model(name, arguments or {})
    check_model_name(name)
    if of_library := LIBRARY.fullmatch(name):
        given = {"num_classes": num_classes, "in_channels": in_channels}
        if of_library[1] == "transformers":
            from bigbatch.models.transformers_models import build_transformers_model

            given |= {"sequence_length": sequence_length}
            return build_transformers_model(of_library[2], task=task, arguments=arguments or {}, **given)
        from bigbatch.models.libraries import build_library_model

        return build_library_model(name, task=task, arguments=arguments or {}, **given)
    if detector := DETECTOR.fullmatch(name):
        from bigbatch.models.detectors import build_detector

        return build_detector(
            detector[1],
            int(detector[2]),
            num_classes=num_classes,
            in_channels=in_channels,
            width=width,
            zero_gamma=zero_gamma,
            arguments=arguments or {},
        )
    if not (num_classes and in_channels):
        msg = (
            f"'{name}' must know its data: give the training dataset `classes`, and images of (channels, height, width)"
        )
        raise InputError(msg)
    from bigbatch.models.resnet import cifar_resnet, imagenet_resnet

    options = {"num_classes": num_classes, "in_channels": in_channels} | ({"width": width} if width else {})
    if small := CIFAR.fullmatch(name):
        return cifar_resnet(int(small[1]), **options, stem_pool=stem_pool, zero_gamma=zero_gamma, dropout=dropout)
    large = IMAGENET.fullmatch(name)
    assert large  # noqa: S101 - check_model_name left nothing else
    return imagenet_resnet(int(large[1]), **options, zero_gamma=zero_gamma, dropout=dropout)


def _build_user_model(name: str, arguments: Mapping[str, object]) -> "nn.Module":
    from torch import nn

    model = call_user_code(name, **arguments)
    if not isinstance(model, nn.Module):
        msg = f"'{name}' must return a torch.nn.Module, not {type(model).__name__}"
        raise InputError(msg)
    return model
