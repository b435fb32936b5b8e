"""The recipe's hooks look, and change nothing: a training without them has the same bits."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from bigbatch.recipe import Recipe
from bigbatch.recipe.file import to_toml
from bigbatch.verification.check import Check, failed, passed
from bigbatch.verification.checks.processes import difference, short_run

NAME: Final = "hooks"


def check_hooks(recipe: Recipe, processes: int, *, iterations: int) -> Check:
    """Train the first iterations without the hooks, and with each of them alone."""
    hooks = recipe.launch.hooks
    with tempfile.TemporaryDirectory(prefix="bigbatch-verify-") as folder:
        runs = []
        for number, names in enumerate([(), *((name,) for name in hooks)]):
            path = Path(folder) / f"{number}.toml"
            path.write_text(to_toml(replace(recipe, launch=replace(recipe.launch, hooks=names, observers=()))))
            runs.append(short_run(path, processes, Path(folder) / str(number), iterations=iterations))
            if runs[-1].error:
                return failed(NAME, f"{', '.join(names) or 'without hooks'}: {runs[-1].error}")
    for name, run in zip(hooks, runs[1:], strict=True):
        if found := difference(runs[0], run):
            return failed(NAME, f"'{name}' changes what it may only look at: without and with it, {found}")
    weights = f"weights {runs[0].weights_sha256[:12]}"
    return passed(NAME, f"{', '.join(hooks)}: {iterations} iterations have the {weights} without and with each")
