"""The lines of metrics.jsonl: one for each iteration, each epoch, and each comparison of the processes."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from bigbatch.recipe.metrics import TOP_1_ERROR
from bigbatch.runs.json_table import READ, JsonTable, as_number, as_table

OLD_NAME: Final = "validation_error"  # of a top-1 error


@dataclass(frozen=True, kw_only=True)
class IterationLine(JsonTable):
    """An update.

    Attributes:
        iteration: its number, from 0.
        loss: the mean over the minibatch; None if it was not finite.
        learning_rate: of this update.
        skipped: whether it was left out because it was not finite.
        gradient_norm: of the minibatch's gradient before clipping, where it is clipped.
        minibatch_size: samples, where the minibatch grows.
        gain: of AdaScale.
        gradient_square: the estimate of |G|^2, in iterations that measure the noise.
        gradient_variance: the estimate of tr(Sigma) for one sample.
    """

    iteration: int
    loss: float | None
    learning_rate: float | None
    skipped: bool = False
    gradient_norm: float | None = None
    minibatch_size: int | None = None
    gain: float | None = None
    gradient_square: float | None = None
    gradient_variance: float | None = None


def _read_validation(table: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of an epoch's metrics; older lines have nothing but an error."""
    old = {TOP_1_ERROR.name: table[OLD_NAME]} if OLD_NAME in table else {}
    values = as_table(table["validation"]) if "validation" in table else old
    return {name: as_number(value) for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class EpochLine(JsonTable):
    """An epoch that is over, and its evaluation.

    Attributes:
        epoch: its number, from 1.
        iteration: updates done by its end; a report's file has it with a decimal point.
        loss: the mean over its updates; None if it took none.
        validation: the value of each metric, by its name; the first one judges.
        seconds: of training, without the evaluation.
        data_seconds: of those, that rank 0 waited for its samples; not in lines of older versions.
        total_epochs: of the whole training, where its recipe does not say: with AdaScale.
    """

    epoch: int
    iteration: float | None
    loss: float | None
    validation: Mapping[str, float | None] = field(metadata={READ: _read_validation})
    seconds: float | None
    data_seconds: float | None = None
    total_epochs: int | None = None

    @property
    def result(self) -> float | None:
        """The value of the first metric; None if the line has none."""
        return next(iter(self.validation.values()), None)

    def to_json(self) -> dict[str, Any]:
        """Return the table. A top-1 error that was not read also has its old name, which other programs read."""
        table = super().to_json()
        is_error = self.raw is None and next(iter(self.validation), None) == TOP_1_ERROR.name
        return table | ({OLD_NAME: self.result} if is_error else {})


@dataclass(frozen=True, kw_only=True)
class TimingLine(JsonTable):
    """What each process has spent since the line of this kind before, by rank.

    Attributes:
        until_iteration: updates done.
        compute_seconds: on its workers, reading their samples included.
        wait_seconds: for the sums after that.
        straggler: the rank that keeps the others waiting, if one does.
    """

    until_iteration: int
    compute_seconds: Sequence[Any]
    wait_seconds: Sequence[Any]
    straggler: int | None


Line = IterationLine | EpochLine | TimingLine


def parse_line(text: bytes) -> Line | None:
    """Return a line of metrics.jsonl; None for one that is damaged, as the last one of a run that was killed can be."""
    with suppress(ValueError, RecursionError):
        table = json.loads(text)
        return read_line(table) if isinstance(table, dict) else None
    return None


def read_line(table: Mapping[str, Any]) -> Line:
    """Return the line that a table is.

    Raises:
        ValueError: its number is missing.
    """
    if "epoch" in table:
        return EpochLine.read(table)
    return IterationLine.read(table) if "iteration" in table else TimingLine.read(table)
