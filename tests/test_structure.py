"""Count the modules that a public name loads: a reader of the step has to read no others."""

import subprocess
import sys

import pytest

from bigbatch.recipe import PRECISIONS
from bigbatch.recipe.sections.model import BUFFER_ROLES
from bigbatch.step import running_state, worker_pass

MOST_MODULES_OF_A_STEP = 40  # besides the algorithms of an all-reduce, which are alternatives
PRINT_MODULES = """
import sys, bigbatch
for name in sys.argv[1:]:
    getattr(bigbatch, name)
print(*(module for module in sys.modules if module.split(".")[0] == "bigbatch"))
"""


def modules_after(*names: str) -> set[str]:
    """Return the modules of bigbatch that are loaded once these public names were used."""
    command = [sys.executable, "-c", PRINT_MODULES, *names]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def within(modules: set[str], package: str) -> set[str]:
    return {module for module in modules if f"{module}.".startswith(f"bigbatch.{package}.")}


def test_the_step_reads_in_one_pass():
    """It needs no recipe, no data, no trainer and no folder: only numbers, sums and processes."""
    modules = modules_after("Step")
    # The algorithms are alternatives: however many there are, a reader of the step needs one.
    algorithms = within(modules, "reduction.schedules") - {"bigbatch.reduction.schedules.schedule"}
    assert len(modules - algorithms) <= MOST_MODULES_OF_A_STEP, sorted(modules)
    for package in ("recipe", "data", "models", "runs", "checkpoint", "planning", "training"):
        assert not within(modules, package), package


def test_minibatches_are_cut_without_a_recipe():
    modules = modules_after("Minibatches", "LearningRate", "set_learning_rate")
    for package in ("recipe", "models", "reduction", "step", "training"):
        assert not within(modules, package), package


@pytest.mark.parametrize("name", ["Step", "Minibatches", "train"])
def test_the_core_loads_nothing_of_the_rings_outside(name):
    modules = modules_after(name)
    for package in ("study", "verification", "benchmark", "cli"):
        assert not within(modules, package), package


def test_a_recipe_names_the_precisions_that_a_step_has():
    """The recipe has a list of its own: it is read without torch, and a step without a recipe."""
    assert PRECISIONS == worker_pass.PRECISIONS


def test_a_recipe_names_the_roles_of_buffers_that_a_step_has():
    assert running_state.ROLES == BUFFER_ROLES
