"""The lines of metrics.jsonl: one for each iteration, each epoch, and each comparison of the processes."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from bigbatch.runs.json_table import JsonTable


@dataclass(frozen=True, kw_only=True)
class IterationLine(JsonTable):
    """An update.

    Attributes:
        iteration: its number, from 0.
        loss: the mean over the minibatch; None if it was not finite.
        learning_rate: of this update.
        skipped: whether it was left out because it was not finite.
        minibatch_size: samples, where the minibatch grows.
        gain: of AdaScale.
        gradient_square: the estimate of |G|^2, in iterations that measure the noise.
        gradient_variance: the estimate of tr(Sigma) for one sample.
    """

    iteration: int
    loss: float | None
    learning_rate: float | None
    skipped: bool = False
    minibatch_size: int | None = None
    gain: float | None = None
    gradient_square: float | None = None
    gradient_variance: float | None = None


@dataclass(frozen=True, kw_only=True)
class EpochLine(JsonTable):
    """An epoch that is over, and its evaluation.

    Attributes:
        epoch: its number, from 1.
        iteration: updates done by its end; a report's file has it with a decimal point.
        loss: the mean over its updates; None if it took none.
        validation_error: in %.
        seconds: of training, without the evaluation.
        total_epochs: of the whole training, where its recipe does not say: with AdaScale.
    """

    epoch: int
    iteration: float | None
    loss: float | None
    validation_error: float | None
    seconds: float | None
    total_epochs: int | None = None


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
