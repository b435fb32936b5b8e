"""The test matrix: each Python with the torch versions that it has. `nox -s tests` runs all of it, by hand.

nox -s "tests(python='3.11', torch='2.8.0')" runs one cell; -- PATHS gives pytest other tests than the short ones.
The results of the last time are in benchmarks/results/matrix.md.
"""

import nox

PYTHONS = ("3.11", "3.12", "3.13")
TORCHES = ("2.8.0", "2.13.0", "2.14.1")  # the oldest that is promised, that of `make test`, the newest
SHORT = (
    "tests/test_step.py",
    "tests/test_exactness.py",
    "tests/test_trainer.py",
    "tests/test_optim.py",
    "tests/test_overlap.py",
    "tests/test_observers.py",
    "tests/test_checkpoint.py",
    "tests/test_recipe.py",
    "tests/test_cli.py",
)

KNOWN = "ignore:functools.partial will be:FutureWarning"  # torch 2.8 under Python 3.13, of itself when it is imported

nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
@nox.parametrize("torch", TORCHES)
def tests(session, torch):
    """Run the tests that lean on torch, in an environment of their own."""
    session.install(f"torch=={torch}")
    session.install("-e", ".[dev]", f"torch=={torch}")
    words = ("pytest", "-q", "-W", KNOWN, "-n", "2", "--dist", "worksteal", *(session.posargs or SHORT))
    session.run(*words, env={"PYTHONWARNINGS": KNOWN})
