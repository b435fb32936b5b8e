"""The section `model`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bigbatch.models.names import check_model_name
from bigbatch.recipe.sections.arguments import check_arguments
from bigbatch.recipe.sections.bounds import check_at_least, check_at_most, check_below_one

MAX_WIDTH: Final = 65_536


@dataclass(frozen=True)
class Model:
    """What is trained.

    Attributes:
        name: resnet18, 34, 50, 101; cifar-resnet8, 14, 20, ...; or `package.module:callable`, called with `arguments`.
        width: channels of the first stage; 0 is the family's own width (64, or 16 for cifar-resnet).
        stem_pool: halve a small image after the stem (cifar-resnet only).
        zero_gamma: start each residual block as the identity (arXiv 1706.02677, section 5.1).
        dropout: probability of dropping a feature before the classifier.
        arguments: keyword arguments of the user's own callable.

    Raises:
        InputError: a field is out of its range.
    """

    name: str
    width: int = 0
    stem_pool: bool = False
    zero_gamma: bool = True
    dropout: float = 0.0
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        width, dropout = {"model.width": self.width}, {"model.dropout": self.dropout}
        check_at_least(0, width | dropout)
        check_below_one(dropout)
        check_at_most(MAX_WIDTH, width)
        check_model_name(self.name)
        check_arguments("model", self.name, self.arguments)
