"""The data set that a recipe names. Importing this module imports no torch; loading data does."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bigbatch.data.names import NUM_TRAIN_SAMPLES, check_data_name
from bigbatch.errors import InputError
from bigbatch.recipe import Data
from bigbatch.user_code import call_user_code, is_user_code, load_callable

if TYPE_CHECKING:
    from bigbatch.data.collation import Collate
    from bigbatch.data.dataset import BatchDataset, Splits

NUM_SPLITS: Final = 2
IMAGE_DIMENSIONS: Final = 3  # of a batch's inputs, at least, if their second one is the channels


def load_data(recipe: Data) -> "Splits":
    """Load the data set that a recipe names, with its collate and its order.

    Raises:
        InputError: it is missing, empty, damaged, or not as large as the recipe says.
    """
    check_data_name(recipe.name)
    collate = load_callable(recipe.collate) if recipe.collate else None
    splits = _load_user_data(recipe, collate) if is_user_code(recipe.name) else _load_own_data(recipe, collate)
    found = len(splits.train)
    if recipe.num_train_samples not in {0, found} and not recipe.path:
        msg = f"the data has {found} training samples, but data.num_train_samples is {recipe.num_train_samples}"
        raise InputError(msg)
    return replace(splits, order=load_callable(recipe.order)) if recipe.order else splits


def count_train_samples(recipe: Data) -> int:
    """Return the training samples of an epoch as cheaply as possible: from the recipe, the name, or the folder."""
    check_data_name(recipe.name)
    if known := known_train_samples(recipe):
        return known
    if recipe.name == "image-folder" and recipe.path and not recipe.order:
        from pathlib import Path

        from bigbatch.data.image_files.splits import TRAIN, find_split, open_split

        return len(open_split(find_split(Path(recipe.path), TRAIN)))
    if recipe.name in {"coco", "voc"} and not recipe.order:
        from bigbatch.data.annotated_splits import list_train

        return len(list_train(recipe).images)
    if recipe.name == "mask-folder" and not recipe.order:
        from bigbatch.data.mask_listing import list_masks

        return len(list_masks(recipe.path, is_training=True).samples)
    if recipe.name == "text" and not recipe.order:
        from bigbatch.data.tokens import count_sequences

        return count_sequences(recipe)
    return load_data(recipe).samples_per_epoch


def known_train_samples(recipe: Data) -> int | None:
    """Return the training samples of an epoch where the recipe or the name says it; None where the data would have to.

    The data at a path of one's own is always counted, because the number may be that of a preset's data.
    """
    if recipe.path or recipe.order:
        return None
    return recipe.num_train_samples or NUM_TRAIN_SAMPLES.get(recipe.name, 0) or None


def _load_own_data(recipe: Data, collate: "Collate | None") -> "Splits":
    """Load one of bigbatch's data sets. A collate of the user's gets the samples of each batch, as (input, target)."""
    splits = _loader(recipe)(recipe)
    if collate is None:
        return splits
    from bigbatch.data.dataset import CollatedDataset

    train, validation = CollatedDataset(splits.train, collate), CollatedDataset(splits.validation, collate)
    extreme = CollatedDataset(splits.extreme, collate) if splits.extreme else None
    return replace(splits, train=train, validation=validation, extreme=extreme)


def _loader(recipe: Data) -> Callable[[Data], "Splits"]:
    from bigbatch.data.annotated_images import load_annotated_images
    from bigbatch.data.cifar10 import load_cifar10
    from bigbatch.data.coco_pixels import load_coco_pixels
    from bigbatch.data.digits import load_digits
    from bigbatch.data.fashion_mnist import load_fashion_mnist
    from bigbatch.data.image_folder import load_image_folder
    from bigbatch.data.mask_folder import load_mask_folder
    from bigbatch.data.text import load_text

    return {
        "digits": load_digits,
        "fashion-mnist": load_fashion_mnist,
        "cifar10": load_cifar10,
        "image-folder": load_image_folder,
        "coco": load_coco_pixels if recipe.has_pixels else load_annotated_images,
        "voc": load_annotated_images,
        "mask-folder": load_mask_folder,
        "text": load_text,
    }[recipe.name]


def _load_user_data(recipe: Data, collate: "Collate | None") -> "Splits":
    """Call the user's callable, which returns (training dataset, validation dataset)."""
    from bigbatch.data.dataset import Splits, as_batch_dataset
    from bigbatch.data.fingerprint import sample_fingerprint
    from bigbatch.rules.randomness.generators import seed_generators
    from bigbatch.rules.randomness.keyed import random_key

    seed_generators(random_key("data"))  # a random split must be the same on every process and in every run
    datasets = call_user_code(recipe.name, **recipe.arguments)
    if not (isinstance(datasets, tuple | list) and len(datasets) == NUM_SPLITS):
        msg = f"'{recipe.name}' must return (training dataset, validation dataset), each with len() and [index]"
        raise InputError(msg)
    train, validation = (
        as_batch_dataset(dataset, collate, what=f"the {part} data of '{recipe.name}'")
        for dataset, part in zip(datasets, ("training", "validation"), strict=True)
    )
    return Splits(
        train=train,
        validation=validation,
        num_classes=len(getattr(datasets[0], "classes", ())),
        in_channels=_channels(train),
        fingerprint=sample_fingerprint(train, validation),
    )


def _channels(train: "BatchDataset") -> int:
    """Return the channels of the inputs if they look like images: (n, channels, ...); 0 otherwise."""
    import numpy as np

    from bigbatch.data.dataset import read

    batch: Any = read(train, np.zeros(1, np.int64), key=0)
    inputs: Any = batch[0] if isinstance(batch, tuple | list) and batch else None
    return int(inputs.shape[1]) if getattr(inputs, "ndim", 0) >= IMAGE_DIMENSIONS else 0
