"""The data set that a recipe names. Importing this module imports no torch; loading data does."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bigbatch.data.listing import find_split, list_split
from bigbatch.data.names import NUM_TRAIN_SAMPLES, check_data_name
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.user_code import call_user_code, is_user_code

if TYPE_CHECKING:
    from bigbatch.data.dataset import Splits

NUM_SPLITS: Final = 2


def load_data(recipe: Data) -> "Splits":
    """Load the data set that a recipe names.

    Raises:
        InputError: it is missing, empty, damaged, or not as large as the recipe says.
    """
    check_data_name(recipe.name)
    splits = _load_user_data(recipe) if is_user_code(recipe.name) else _loader(recipe.name)(recipe)
    if recipe.num_train_samples not in {0, len(splits.train)}:
        found = len(splits.train)
        msg = f"the data has {found} training samples, but data.num_train_samples is {recipe.num_train_samples}"
        raise InputError(msg)
    return splits


def count_train_samples(recipe: Data) -> int:
    """Return the number of training samples as cheaply as possible: from the recipe, the name, or the folder."""
    check_data_name(recipe.name)
    if known := known_train_samples(recipe):
        return known
    if recipe.name == "image-folder" and recipe.path:
        from pathlib import Path

        return len(list_split(find_split(Path(recipe.path), ("train",))).samples)
    return len(load_data(recipe).train)


def known_train_samples(recipe: Data) -> int | None:
    """Return the number of training samples where the recipe or the name says it; None where the data would have to."""
    is_usual = recipe.name in NUM_TRAIN_SAMPLES and not recipe.path
    return recipe.num_train_samples or (NUM_TRAIN_SAMPLES[recipe.name] if is_usual else 0) or None


def _loader(name: str) -> Callable[[Data], "Splits"]:
    from bigbatch.data.cifar10 import load_cifar10
    from bigbatch.data.digits import load_digits
    from bigbatch.data.fashion_mnist import load_fashion_mnist
    from bigbatch.data.image_folder import load_image_folder

    return {
        "digits": load_digits,
        "fashion-mnist": load_fashion_mnist,
        "cifar10": load_cifar10,
        "image-folder": load_image_folder,
    }[name]


def _load_user_data(recipe: Data) -> "Splits":
    """Call the user's callable, which returns (training dataset, validation dataset) of (image, label) samples."""
    from bigbatch.data.dataset import MapDataset, Splits, sample_fingerprint
    from bigbatch.rules.randomness.generators import seed_generators
    from bigbatch.rules.randomness.keyed import random_key

    seed_generators(random_key("data"))  # a random split must be the same on every process and in every run
    datasets = call_user_code(recipe.name, **recipe.arguments)
    if not (isinstance(datasets, tuple | list) and len(datasets) == NUM_SPLITS and all(map(_is_dataset, datasets))):
        msg = f"'{recipe.name}' must return (training dataset, validation dataset), each with len() and [index]"
        raise InputError(msg)
    train, validation = datasets
    if not len(train) or not len(validation):
        msg = f"'{recipe.name}' returned an empty dataset"
        raise InputError(msg)
    first = train[0][0]
    splits = MapDataset(train), MapDataset(validation)
    return Splits(
        train=splits[0],
        validation=splits[1],
        num_classes=len(getattr(train, "classes", ())),
        in_channels=first.shape[0] if getattr(first, "ndim", 0) > 1 else 0,
        fingerprint=sample_fingerprint(*splits),
    )


def _is_dataset(value: Any) -> bool:  # noqa: ANN401 - whatever the user's callable returned
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")
