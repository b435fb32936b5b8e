"""A recipe: one frozen value that says everything about a training, and nothing about the machine."""

from bigbatch.recipe.differences import NOT_OF_THE_RESULT, differences, flat_fields, is_longer
from bigbatch.recipe.idle import effective_fields, switched_on_fields
from bigbatch.recipe.recipe import PRECISIONS, Recipe
from bigbatch.recipe.sections import (
    Average,
    Checkpoints,
    Data,
    Evaluation,
    Growth,
    Launch,
    Model,
    Optimizer,
    Reference,
    Scaling,
    Schedule,
    Seeds,
    Warmup,
)
from bigbatch.recipe.sections.seeds import MAX_SEED

__all__ = [
    "MAX_SEED",
    "NOT_OF_THE_RESULT",
    "PRECISIONS",
    "Average",
    "Checkpoints",
    "Data",
    "Evaluation",
    "Growth",
    "Launch",
    "Model",
    "Optimizer",
    "Recipe",
    "Reference",
    "Scaling",
    "Schedule",
    "Seeds",
    "Warmup",
    "differences",
    "effective_fields",
    "flat_fields",
    "is_longer",
    "switched_on_fields",
]
