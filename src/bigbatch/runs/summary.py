"""run.json: the recipe and data of a run, its attempts, and its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigbatch.runs.json_table import JsonTable


@dataclass(frozen=True, kw_only=True)
class Attempt(JsonTable):
    """One start of a run: how, when, where and with what.

    Attributes:
        started: when (ISO 8601).
        argv: the command.
        versions: of Python and of packages.
        git: `commit` of the current folder, and whether it is `dirty`; None outside a repository.
        host: `machine`, `system` and `cores`.
        processes: how many took part.
        threads_per_process: of torch.
        device: the GPU's name, or the CPU's instruction set.
        default_dtype: of torch.
        memory_format: of the model's weights; not in runs of older versions.
        code: hashes of our source and of the user's modules.
        all_reduce: how gradients are summed.
        from_sample: training samples that were used up before.
        after: why the attempt before ended, if a launcher knows.
    """

    started: str | None
    argv: Sequence[Any]
    versions: Mapping[str, Any]
    git: Mapping[str, Any] | None
    host: Mapping[str, Any]
    processes: int | None
    threads_per_process: int | None
    device: str | None
    default_dtype: str | None
    memory_format: str | None
    code: Mapping[str, Any]
    all_reduce: Mapping[str, Any]
    from_sample: int | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Summary(JsonTable):
    """A run as run.json records it; `to_json()` is its table.

    Attributes:
        status: running, finished, stopped or failed.
        recipe: its table, not yet checked.
        seed: of the recipe.
        reduction: exact or native.
        data_fingerprint: of the data.
        attempt: the last one, whose fields stand beside these.
        attempts: all of them; none in a run of an older version.
        stopped_by: what ended the run before its last iteration.
        iterations: updates done.
        seconds: of training and evaluation, over all attempts.
        validation_error: the median of the last 5 epochs, in %.
        final_validation_error: of the last epoch, in %.
        weights_sha256: of the last weights.
        average_sha256: of the averaged weights, if the recipe asks for them.
        error: why the run failed.
        exit_code: of a run that failed.
        variant: of a sweep's run, only in a report's file.
        is_reference: whether it is its sweep's reference, only in a report's file.
    """

    status: str | None
    recipe: object
    seed: int | None
    reduction: str | None
    data_fingerprint: str | None
    attempt: Attempt
    attempts: tuple[Attempt, ...]
    stopped_by: str | None = None
    iterations: int | None = None
    seconds: float | None = None
    validation_error: float | None = None
    final_validation_error: float | None = None
    weights_sha256: str | None = None
    average_sha256: str | None = None
    error: str | None = None
    exit_code: int | None = None
    variant: str | None = None
    is_reference: bool | None = None
