"""The two halves of coco and voc data, listed without torch."""

from bigbatch.data.annotations import AnnotatedSplit, check_splits
from bigbatch.data.coco import find_coco, list_coco
from bigbatch.data.voc import find_voc, list_voc
from bigbatch.recipe import Data
from bigbatch.recipe.sections.data import BOXES

COCO_NAMES = (("train",), ("val", "valid", "test"))
VOC_NAMES = (("train",), ("val", "test"))


def list_train(recipe: Data) -> AnnotatedSplit:
    """List the training split.

    Raises:
        InputError: a file is missing or damaged, or an annotation is wrong; the message names it.
    """
    return _list(recipe, 0)


def list_both(recipe: Data) -> tuple[AnnotatedSplit, AnnotatedSplit]:
    """List the training and the validation split, which must have the same categories.

    Raises:
        InputError: a file is missing or damaged, an annotation is wrong, or the splits differ; the message names it.
    """
    train, validation = _list(recipe, 0), _list(recipe, 1)
    check_splits(train, validation)
    return train, validation


def check_both_are_there(recipe: Data) -> None:
    """Refuse a split whose list of images is not there, without reading it.

    Raises:
        InputError: with the layout that is read.
    """
    for number in range(2):
        if recipe.name == "coco":
            find_coco(recipe.path, COCO_NAMES[number])
        else:
            find_voc(recipe.path, VOC_NAMES[number])


def _list(recipe: Data, number: int) -> AnnotatedSplit:
    if recipe.name == "coco":
        return list_coco(recipe.path, COCO_NAMES[number], with_masks=recipe.labels != BOXES)
    return list_voc(recipe.path, VOC_NAMES[number])
