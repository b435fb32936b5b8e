"""The photographs of a folder, read by torchvision for the others and by bigbatch for itself."""

from typing import Any

from bigbatch.data.load import load_data
from bigbatch.recipe import Data


def photographs(folder: str, side: int, *, is_ours: bool) -> Any:  # noqa: ANN401 - any data set
    """Return the training photographs of a folder, cut at random to squares, flipped and normalised.

    Args:
        folder: with train/ and val/.
        side: of the squares, in pixels.
        is_ours: whether bigbatch reads them.
    """
    if is_ours:
        data = Data("image-folder", folder, augmentation=("random-resized-crop", "flip"), image_size=side)
        return load_data(data).train
    from torchvision import datasets, transforms

    steps = [
        transforms.RandomResizedCrop(side),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    return datasets.ImageFolder(f"{folder}/train", transforms.Compose(steps))
