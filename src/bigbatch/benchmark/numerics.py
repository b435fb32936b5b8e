"""What portable numerics cost: a recipe's own step in two processes, one of each kind, in pairs.

Run as a program, it is one of the two: it takes the step as often as each line of its input says, and prints seconds.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from bigbatch.benchmark.pairs import ratios, take_turns
from bigbatch.errors import InputError
from bigbatch.processes.interpreter import python_command
from bigbatch.processes.portable import VARIABLES, take_numerics
from bigbatch.recipe import Recipe
from bigbatch.recipe.file import read_recipe, to_toml
from bigbatch.recipe.numerics import NATIVE, PORTABLE

MODULE: Final = "bigbatch.benchmark.numerics"


def bench_numerics(recipe: Recipe, *, threads: int, rounds: int, seconds_per_turn: float) -> dict[str, Any]:
    """Time the recipe's step with native and with portable numerics in turn, on its own data, in one process each.

    Args:
        recipe: whatever its numerics are.
        threads: of each process.
        rounds: pairs of turns.
        seconds_per_turn: about how long a turn lasts.

    Returns:
        Samples/s of both (medians over the rounds) and the ratio portable / native: median, least and largest.

    Raises:
        InputError: one of the two cannot be trained; the line says why.
    """
    with ExitStack() as stack:
        racers = [
            stack.enter_context(_racer(replace(recipe, numerics=numerics), threads)) for numerics in (PORTABLE, NATIVE)
        ]
        iterations = max(1, round(seconds_per_turn / max(racer.turn(1) for racer in racers)))
        times = take_turns(*(partial(racer.turn, iterations) for racer in racers), rounds=rounds)
    samples = iterations * recipe.initial_minibatch_size
    return {
        "recipe": recipe.name,
        "model": recipe.model.name,
        "precision": recipe.precision,
        "minibatch_size": recipe.initial_minibatch_size,
        "rounds": rounds,
        "iterations_per_turn": iterations,
        "native_samples_per_second": median(samples / seconds for _, seconds in times),
        "portable_samples_per_second": median(samples / seconds for seconds, _ in times),
        **ratios(times),
    }


class _Racer:
    """A process that takes the step of a recipe; the file has its errors, and what the user's code prints."""

    def __init__(self, process: "subprocess.Popen[str]", errors: Path) -> None:
        self.process, self.errors = process, errors
        self.turn(1)  # which it starts with, and which takes longer

    def turn(self, iterations: int) -> float:
        """Return the seconds of some iterations."""
        process = self.process
        assert process.stdin
        assert process.stdout
        with suppress(BrokenPipeError):  # it has ended, and said why
            process.stdin.write(f"{iterations}\n")
            process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            lines = self.errors.read_text(errors="replace").strip().splitlines() or ["it ended without a word"]
            raise InputError(lines[-1].removeprefix(f"{InputError.__module__}.{InputError.__name__}: "))
        return float(line)


@contextmanager
def _racer(recipe: Recipe, threads: int) -> Iterator[_Racer]:
    variables = VARIABLES if recipe.numerics == PORTABLE else {}
    with tempfile.TemporaryDirectory(prefix="bigbatch-") as folder:
        path = Path(folder) / "recipe.toml"
        path.write_text(to_toml(recipe))
        errors = path.with_name("errors.txt")
        with errors.open("w") as file:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [*python_command(), "-m", MODULE, str(path), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env={**os.environ, **variables},
            )
        with process:
            try:
                yield _Racer(process, errors)
            finally:
                process.kill()


def main() -> None:
    """Take the step of a recipe as often as each line of the input says, and print the seconds."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever the user's code prints is no answer
    recipe = read_recipe(Path(sys.argv[1]))
    take_numerics(recipe.numerics)
    from bigbatch.processes.join import joined
    from bigbatch.reduction.options import AggregationOptions
    from bigbatch.training.build import build

    with joined(threads=int(sys.argv[2])) as machine:
        training = build(recipe, machine, aggregation=AggregationOptions(), loader_workers=0)
        training.model.train()
        minibatch = list(next(iter(training.minibatches.epoch(0))))
        for line in sys.stdin:
            start = time.perf_counter()
            for _ in range(int(line)):
                training.step(minibatch, iteration=0)
            print(time.perf_counter() - start, file=answers, flush=True)


if __name__ == "__main__":
    main()
