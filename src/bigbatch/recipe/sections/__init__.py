"""The sections of a recipe; each refuses wrong values."""

from bigbatch.recipe.sections.average import Average
from bigbatch.recipe.sections.checkpoints import Checkpoints
from bigbatch.recipe.sections.data import Data
from bigbatch.recipe.sections.evaluation import Evaluation
from bigbatch.recipe.sections.growth import Growth
from bigbatch.recipe.sections.launch import Launch
from bigbatch.recipe.sections.model import Model
from bigbatch.recipe.sections.optimizer import Optimizer
from bigbatch.recipe.sections.reference import Reference
from bigbatch.recipe.sections.scaling import Scaling
from bigbatch.recipe.sections.schedule import Schedule
from bigbatch.recipe.sections.seeds import Seeds
from bigbatch.recipe.sections.warmup import Warmup

__all__ = [
    "Average",
    "Checkpoints",
    "Data",
    "Evaluation",
    "Growth",
    "Launch",
    "Model",
    "Optimizer",
    "Reference",
    "Scaling",
    "Schedule",
    "Seeds",
    "Warmup",
]
