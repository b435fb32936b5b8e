"""What a module of Lightning logs while its workers run: gathered, so that every number of processes logs the same."""

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from bigbatch.errors import InputError
from bigbatch.processes.group import Processes, check_agreement, communication_device


class WorkerLogs:
    """Take what `training_step` logs for each worker; log it once, reduced over all workers of the minibatch.

    It is reduced by the `reduce_fx` of the log, the mean by default: numbers, and what a metric object found for a
    worker. An epoch's value of a metric object is Lightning's, which sums its states.

    Args:
        module: whose `log` is called.
        worker_count: workers of a minibatch (k).
        minibatch_size: samples per update (kn), the weight of a mean within its epoch.
    """

    def __init__(self, module: Any, *, worker_count: int, minibatch_size: int) -> None:  # noqa: ANN401 - Lightning's
        self.module, self.worker_count, self.minibatch_size = module, worker_count, minibatch_size
        self.processes = Processes.current()
        self.rows: list[dict[str, float | Tensor]] = []
        self.options: dict[str, dict[str, Any]] = {}
        self.metrics: dict[str, Any] = {}
        self.names_of_options = [*signature(type(module).log).parameters][3:]  # after self, name and value

    @contextmanager
    def worker(self) -> Iterator[None]:
        """Take what the next worker logs."""
        row: dict[str, float | Tensor] = {}

        def log(name: str, value: Any, *positional: Any, **options: Any) -> None:  # noqa: ANN401 - Lightning's
            number = value._forward_cache if is_metric(value) else value  # noqa: SLF001 - what Lightning logs of it
            is_number = isinstance(number, int | float) or (isinstance(number, Tensor) and number.numel() == 1)
            options |= dict(zip(self.names_of_options, positional, strict=False))
            if not is_number:
                type(self.module).log(self.module, name, value, **options)
                return
            row[name] = number.detach() if isinstance(number, Tensor) else number
            self.options[name] = options
            self.metrics[name] = None if number is value else value

        with _replaced(self.module, log):
            yield
        self.rows.append(row)

    def log(self, first: int, device: torch.device) -> None:
        """Log what the workers logged, after all of the minibatch have run.

        Args:
            first: this process's first worker.
            device: of the model.

        Raises:
            InputError: `training_step` logs something for some of the workers only.
        """
        rows, self.rows = self.rows, []
        names = list(rows[0]) if rows else []
        _check_names(names, rows, self.processes)
        if not names:
            return
        table = torch.zeros(self.worker_count, len(names), dtype=torch.float64, device=device)
        for worker, row in enumerate(rows, start=first):
            table[worker] = torch.stack(
                [torch.as_tensor(row[name], dtype=torch.float64).reshape(()).to(device) for name in names]
            )
        if self.processes.world_size > 1:
            table = table.to(communication_device(self.processes))
            dist.all_reduce(table)  # each row is of one process, and of zeros elsewhere: the sum is exact
        for name, column in zip(names, table.T, strict=True):
            options = self.options[name] | {"sync_dist": False, "batch_size": self.minibatch_size}
            number = reduction_of(options.get("reduce_fx", "mean"))(column).float().to(device)
            metric = self.metrics[name]
            if metric is not None:
                metric._forward_cache = number  # noqa: SLF001 - as above
            self.module.log(name, number if metric is None else metric, **options)


def reduction_of(reduce_fx: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401 - Lightning's
    """Return torch's function for what Lightning takes: mean, sum, max or min, by name or as a function.

    >>> reduction_of(max)(torch.tensor([1.0, 3.0]))
    tensor(3.)
    """
    name = reduce_fx.lower() if isinstance(reduce_fx, str) else getattr(reduce_fx, "__name__", "")
    known: dict[str, Callable[..., Tensor]] = {"mean": torch.mean, "avg": torch.mean, "sum": torch.sum}
    known |= {"max": torch.amax, "min": torch.amin}
    if name not in known:
        msg = f"training_step logs by reduce_fx {name or reduce_fx}; Lightning takes mean, sum, max and min"
        raise InputError(msg)
    return known[name]


@contextmanager
def unnoticed(module: Any, notes: Collection[str]) -> Iterator[None]:  # noqa: ANN401 - Lightning's
    """Make a pass that logs, counts and takes notes as if it had not been made.

    Args:
        module: whose `log`, and whose metrics of torchmetrics, do not see the pass.
        notes: attributes of the module that are put back.
    """
    before = [(part, {name: _copy(value) for name, value in vars(part).items()}) for part in metrics_of(module)]
    kept = {name: copy.copy(getattr(module, name)) for name in notes}
    try:
        with _replaced(module, lambda *_, **__: None):
            yield
    finally:
        for part, values in before:
            vars(part).clear()
            vars(part).update(values)
        for name, value in kept.items():
            setattr(module, name, value)


def metrics_of(module: Any) -> list[Any]:  # noqa: ANN401 - Lightning's
    """Return a module's metrics of torchmetrics."""
    return [part for part in module.modules() if is_metric(part)]


def is_metric(value: Any) -> bool:  # noqa: ANN401 - whatever is logged
    """Tell whether it is one of torchmetrics, which keep the defaults of their state in `_defaults`."""
    return hasattr(value, "_defaults")


@contextmanager
def _replaced(module: Any, log: Any) -> Iterator[None]:  # noqa: ANN401 - Lightning's
    module.log = log
    try:
        yield
    finally:
        del module.log


def _copy(value: Any) -> Any:  # noqa: ANN401 - a metric's state
    if isinstance(value, Tensor):
        return value.clone()
    return list(value) if type(value) is list else value


def _check_names(names: list[str], rows: list[dict[str, Any]], processes: Processes) -> None:
    """Refuse logs of some workers only, of this process or of others."""
    differing = next((list(row) for row in rows if list(row) != names), names)
    logged = ", ".join(differing) or "nothing"
    hint = "log the same for every worker, whatever its data and its rank"
    if processes.world_size > 1:
        try:
            check_agreement({"what training_step logs": [logged]}, processes, communication_device(processes))
        except InputError as error:
            msg = f"{error}; {hint}"
            raise InputError(msg) from error
    if differing != names:
        msg = f"training_step logs {logged} for one worker, and {', '.join(names) or 'nothing'} for another; {hint}"
        raise InputError(msg)
