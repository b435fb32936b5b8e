"""The attempts of a run: their records, the agreement of their processes, and the changes between two of them."""

import sys
from datetime import UTC, datetime
from typing import Any, Final

import torch

from bigbatch.data.dataset import Splits
from bigbatch.errors import InputError
from bigbatch.processes.device import describe_engine, device_name
from bigbatch.processes.group import check_agreement
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.recipe.metrics import Measure
from bigbatch.reduction.options import NATIVE
from bigbatch.runs.code_version import describe_code, library_versions
from bigbatch.runs.contract import MEMORY_FORMAT_BEFORE
from bigbatch.runs.folder import RunFolder
from bigbatch.runs.provenance import describe_host, git_state, installed_versions
from bigbatch.runs.record import RUNNING
from bigbatch.runs.summary import Attempt, Summary

BITS_DEPEND_ON: Final = (
    "torch",
    "numpy",
    "python",
    "device",
    "threads_per_process",
    "default_dtype",
    "memory_format",
    "code",
)


def describe_attempt(  # noqa: PLR0913 - each is a fact of the attempt
    recipe: Recipe,
    folder: RunFolder,
    machine: Machine,
    *,
    all_reduce: dict[str, Any],
    memory_format: torch.memory_format,
    metric: Measure,
    data: Splits,
    samples_consumed: int,
    after: str | None = None,
) -> Summary:
    """Return run.json as it is when an attempt starts. A resumed run keeps the list of its attempts.

    Args:
        recipe: of the run.
        folder: of the run.
        machine: this process and its device.
        all_reduce: how gradients are summed.
        memory_format: of the model.
        metric: that judges the run.
        data: of the run.
        samples_consumed: the position that it starts from.
        after: why the attempt before ended, if our launcher has noted it.
    """
    attempt = Attempt(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=sys.argv,
        versions=installed_versions(),
        git=git_state() if machine.processes.rank == 0 else None,  # the others write nothing
        host=describe_host(),
        processes=machine.processes.world_size,
        threads_per_process=machine.threads,
        device=device_name(machine.device),
        engine={
            **describe_engine(machine.device, is_compiled=recipe.model.compile),
            **library_versions(recipe),
            **data.engine,
        },
        default_dtype=str(torch.get_default_dtype()),
        memory_format=str(memory_format),
        code=describe_code(recipe),
        all_reduce=all_reduce,
        from_sample=samples_consumed,
        after=after,
        length=str(recipe.length),
    )
    before = folder.read_summary_or_nothing()
    return Summary(
        status=RUNNING,
        recipe=recipe.to_dict(),
        seed=recipe.seed,
        reduction=NATIVE if all_reduce["algorithm"] == NATIVE else "exact",
        data_fingerprint=data.fingerprint,
        metric=metric,
        attempt=attempt,
        attempts=(*(before.attempts if before else ()), attempt),
    )


def check_attempts(
    summary: Summary, recipe: Recipe, folder: RunFolder, machine: Machine, *, checkpoint: str = ""
) -> None:
    """Refuse to start unless all processes have the same recipe, code, data, checkpoint (by its hash) and engine.

    Raises:
        InputError: the text names the rank and what differs.
    """
    attempt = summary.attempt
    facts = {
        "its recipe": to_toml(recipe).splitlines(),
        "its code": [f"{name} {digest}" for name, digest in attempt.code.items()],
        "its data": [f"fingerprint {summary.data_fingerprint}"],
        "the weights it starts from": [f"SHA-256 {sha256_of(summary) or 'of none'}"],
        f"the checkpoint it sees in {folder.path} (all must share its file system)": [
            f"at sample {attempt.from_sample}",
            f"SHA-256 {checkpoint or 'of none'}",
        ],
        "its engine": [
            *(f"{package} {attempt.versions[package]}" for package in ("python", "torch", "numpy")),
            f"device {attempt.device}",
            *(f"{name} {value}" for name, value in attempt.engine.items()),
            f"threads_per_process {attempt.threads_per_process}",
            f"default_dtype {attempt.default_dtype}",
            f"memory_format {attempt.memory_format}",
            f"reduction {summary.reduction}",
        ],
    }
    check_agreement(facts, machine.processes, machine.device)


def compare_with_before(folder: RunFolder, summary: Summary) -> list[str]:
    """Return a warning for each change since the run's last attempt that can change the bits of what follows.

    Raises:
        InputError: the data or the reduction differs, so that the run would be a mixture of two.
    """
    before = folder.read_summary_or_nothing()
    if before is None:
        return ["warning: run.json is missing or damaged; what the run was started with is not known"]
    if before.data_fingerprint != summary.data_fingerprint:
        msg = f"the data has changed since {folder.path} was started; put the old back, or choose another --output"
        raise InputError(msg)
    if sha256_of(before) != sha256_of(summary):
        msg = (
            f"model.weights has changed since {folder.path} was started: its SHA-256 was {sha256_of(before)}, and is "
            f"{sha256_of(summary)}; put the old file back, or choose another --output"
        )
        raise InputError(msg)
    if before.reduction != summary.reduction:
        msg = f"{folder.path} was trained with --reduction {before.reduction}; resume it with the same"
        raise InputError(msg)
    known = {"memory_format": MEMORY_FORMAT_BEFORE}
    old, new = (
        {**known, **attempt.to_json(), **attempt.versions, **attempt.engine}
        for attempt in (before.attempt, summary.attempt)
    )
    engine = (*before.attempt.engine, *summary.attempt.engine) if "engine" in old else ()  # older runs record none
    return [
        f"warning: {key} was {old.get(key)} and is {new.get(key)}: "
        "the bits can differ from those of an uninterrupted run"
        for key in dict.fromkeys((*BITS_DEPEND_ON, *engine))
        if old.get(key) != new.get(key)
    ]


def sha256_of(summary: Summary) -> str | None:
    """Return the hash of the file of weights that a run started from; None if there was none."""
    sha256 = (summary.initial_weights or {}).get("sha256")
    return sha256 if isinstance(sha256, str) else None
