"""Whether a run can be repeated here with the same bits, said before it starts."""

from collections.abc import Iterator

from bigbatch.processes.device import VARIABLES, describe_engine, device_name
from bigbatch.processes.join import Machine
from bigbatch.recipe import Recipe
from bigbatch.recipe.numerics import PORTABLE
from bigbatch.runs.code_version import library_versions
from bigbatch.runs.contract import in_words
from bigbatch.runs.provenance import installed_versions
from bigbatch.runs.record import RunRecord

ARITHMETIC = "arithmetic"
KINDS = ("device", ARITHMETIC)  # of a machine; everything else can be installed or set


def prospect(run: RunRecord, recipe: Recipe, machine: Machine) -> Iterator[str]:
    """Yield a line that says whether a run can have the same bits here, and then what stands in the way.

    Args:
        run: to be repeated.
        recipe: with which it will be.
        machine: this one, with the threads that will be used.
    """
    attempt = run.attempts[-1]
    there = {**attempt.versions, "device": attempt.device, **attempt.engine}
    here = {
        **installed_versions(),
        "device": device_name(machine.device),
        **describe_engine(machine.device, is_compiled=recipe.model.compile),
        **library_versions(recipe),
    }
    names = [name for name in here.keys() | there.keys() if (name in here or name in VARIABLES) and name != "bigbatch"]
    differing = [name for name in sorted(names) if there.get(name) != here.get(name)]
    if attempt.device == here["device"] and ARITHMETIC in here and ARITHMETIC not in there:
        yield "whether it can be the same here is not known: the run is older, and has not recorded its arithmetic"
        differing.remove(ARITHMETIC)
    elif kinds := [name for name in differing if name in KINDS]:
        yield f"it cannot be the same here: it was made on another kind of machine; {_takes(run, attempt.device)}"
        differing = [*kinds, *(name for name in differing if name not in kinds)]
    elif differing:
        yield "that it will be the same here is not promised; install and set what it was made with"
    else:
        yield f"it can be the same here: {recipe.numerics} numerics; versions, device and arithmetic as there"
    yield from (f"  {name}: {in_words(there.get(name))} there, {in_words(here.get(name))} here" for name in differing)


def _takes(run: RunRecord, device: str | None) -> str:
    kind = f"it takes one of that kind ({in_words(device)})"
    if str(device).startswith("cpu") and run.recipe.numerics != PORTABLE:
        return f"{kind}; a run with numerics = {PORTABLE} can be repeated on any x86-64 processor with AVX2"
    return kind
