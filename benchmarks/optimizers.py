"""Every optimizer of torch and timm in an exact step, compared with the same optimizer in plain torch, in float64.

Run from the repository's root; timm is optional, and of it the optimizers alone are imported:
    python benchmarks/optimizers.py
"""

import contextlib
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

import bigbatch
from bigbatch.rules.randomness.generators import seed_generators
from bigbatch.rules.randomness.keyed import random_key
from card import write_card

RATES = (0.01, 0.01, 0.02, 0.04, 0.04, 0.004)  # a warmup, and a step down
TORCH = ("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "ASGD")
TORCH += ("Adafactor", "Muon", "SparseAdam", "LBFGS")
CLOSE = 1e-5  # after six updates in float32
Make = Callable[[list[dict[str, Any]]], torch.optim.Optimizer]


class Model(nn.Module):
    """Matrices, vectors and a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return three logits a sample."""
        outputs: Tensor = self.head(self.norm(self.body(inputs)).tanh()) * self.scale
        return outputs


@dataclass(frozen=True)
class Result:
    """What came of an optimizer: the largest difference of a weight from plain float64, or the line that refused it."""

    library: str
    name: str
    difference: float | None = None
    refused: str = ""


def try_optimizer(library: str, name: str, make: Make) -> Result | None:
    """Take the steps both ways; None for an optimizer that cannot be made here."""
    torch.manual_seed(0)
    model, plain = Model(), Model().double()
    plain.load_state_dict(model.state_dict())
    inputs, targets = torch.randn(16, 6, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3
    try:
        ours, theirs = make(groups_of(model, name)), make(groups_of(plain, name))
    except (ImportError, NotImplementedError, AssertionError):  # another package, or a GPU
        return None
    try:
        step = bigbatch.Step(
            model, nn.CrossEntropyLoss(reduction="none"), ours, minibatch_size=16, worker_minibatch_size=4
        )
        batches = [(inputs[4 * worker : 4 * worker + 4], targets[4 * worker : 4 * worker + 4]) for worker in range(4)]
        for rate in RATES:
            bigbatch.set_learning_rate(ours, rate)
            step(batches)
    except bigbatch.InputError as error:
        return Result(library, name, refused=str(error))
    train_plainly(plain, theirs, inputs, targets)
    pairs = zip(model.parameters(), plain.parameters(), strict=True)
    return Result(library, name, max((ours - theirs).abs().max().item() for ours, theirs in pairs))


def train_plainly(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, targets: Tensor) -> None:
    """Take the steps with torch alone: the whole minibatch at once, and the rates written by hand."""
    own = [group["lr"] for group in optimizer.param_groups]
    for iteration, rate in enumerate(RATES):
        for group, first in zip(optimizer.param_groups, own, strict=True):
            group["lr"] = rate * (first / own[0])
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs.double()), targets).backward()
        seed_generators(random_key("after the step", 0, iteration), inputs.device)  # some draw in their step
        optimizer.step()


def groups_of(model: nn.Module, name: str) -> list[dict[str, Any]]:
    """Return two parameter groups; the second has another rate. Muon takes matrices alone."""
    parameters = [parameter for parameter in model.parameters() if name != "Muon" or parameter.ndim > 1]
    return [{"params": parameters[:1], "lr": RATES[0]}, {"params": parameters[1:], "lr": 3 * RATES[0]}]


def optimizers_of_torch() -> Iterator[tuple[str, str, Make]]:
    """Yield each of torch's that this version has."""
    for name in TORCH:
        if hasattr(torch.optim, name):
            kind = getattr(torch.optim, name)
            one_group = name == "LBFGS"
            yield (
                "torch",
                name,
                lambda groups, kind=kind, one=one_group: kind(
                    [p for group in groups for p in group["params"]] if one else groups, lr=RATES[0]
                ),
            )


def optimizers_of_timm() -> Iterator[tuple[str, str, Make]]:
    """Yield each of timm's, with its factory's settings."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.submodule_search_locations is None:
        return
    # Its models would need torchvision.
    package, models = types.ModuleType("timm"), types.ModuleType("timm.models")
    package.__path__ = list(spec.submodule_search_locations)
    models.group_parameters = None  # type: ignore[attr-defined]
    sys.modules |= {"timm": package, "timm.models": models}
    from timm.optim import create_optimizer_v2, list_optimizers

    for name in list_optimizers():
        yield (
            "timm",
            name,
            lambda groups, name=name: create_optimizer_v2(groups, opt=name, lr=RATES[0], weight_decay=0.01),
        )


def table_of(results: list[Result]) -> str:
    """Return the results as a table, and what they come to."""
    right = [result for result in results if result.difference is not None and result.difference < CLOSE]
    refused = [result for result in results if result.refused]
    rows = ["| library | optimizer | largest difference, or the refusal |", "|---|---|---|"]
    rows += [f"| {each.library} | {each.name} | {each.refused or format(each.difference, '.1e')} |" for each in results]
    far = ", ".join(each.name for each in results if each not in (*right, *refused)) or "none"
    counts = {library: sum(each.library == library for each in results) for library in ("torch", "timm")}
    summary = f"{counts['torch']} of torch and {counts['timm']} of timm: {len(right)} right, {len(refused)} refused."
    far = f"Differ by {CLOSE:g} or more: {far}; kron draws random numbers in its steps, other ones in float64."
    settings = f"{len(RATES)} updates at rates from {min(RATES)} to {max(RATES)}, two groups at rates 1 : 3, float32."
    return "\n".join([f"{summary} {far} {settings} {versions()}.", "", *rows])


def versions() -> str:
    """Return the versions of what was measured."""
    found = []
    for name in ("torch", "timm"):
        with contextlib.suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return "With " + " and ".join(found)


def main() -> None:
    """Try all, and write the card."""
    warnings.filterwarnings("ignore")
    results = []
    with bigbatch.joined(), contextlib.redirect_stdout(io.StringIO()):
        for library, name, make in (*optimizers_of_torch(), *optimizers_of_timm()):
            if result := try_optimizer(library, name, make):
                results.append(result)
    table = table_of(results)
    write_card(
        "optimizers",
        "Optimizers in an exact step, beside plain torch in float64",
        [asdict(each) for each in results],
        table,
    )


if __name__ == "__main__":
    main()
