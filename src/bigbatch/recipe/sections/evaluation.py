"""The section `evaluation`."""

from dataclasses import dataclass

from bigbatch.errors import InputError
from bigbatch.recipe.sections.bounds import MAX_SAMPLES, check_at_least, check_at_most
from bigbatch.user_code import is_user_code


@dataclass(frozen=True)
class Evaluation:
    """How the model is evaluated after each epoch, by the recipe's `metrics`.

    Attributes:
        part_size: samples of the validation data that are scored at once, whatever the number of processes.
        predict: `package.module:callable`. It is given (model, batch), and returns (outputs, targets). "" takes
            `model(batch[0])` and `batch[1]`.
        statistics_samples: training samples of which batch normalisation's running statistics are computed anew before
            each evaluation, with the weights that are evaluated; 0 keeps those of the training.
        patience: epochs in a row without a better value of the first metric, after which the training ends; 0 to train
            all epochs.

    Raises:
        InputError: a field is out of its range.
    """

    part_size: int = 250
    predict: str = ""
    statistics_samples: int = 0
    patience: int = 0

    def __post_init__(self) -> None:
        size, samples = (
            {"evaluation.part_size": self.part_size},
            {"evaluation.statistics_samples": self.statistics_samples},
        )
        check_at_least(1, size)
        check_at_least(0, samples | {"evaluation.patience": self.patience})
        check_at_most(MAX_SAMPLES, size | samples)
        if self.predict and not is_user_code(self.predict):
            msg = f"evaluation.predict '{self.predict}' must be package.module:callable, called with (model, batch)"
            raise InputError(msg)
