"""`bigbatch export`."""

import argparse
from collections.abc import Sequence

from bigbatch.runs import RunFolder


def export_command(options: argparse.Namespace, arguments: Sequence[str]) -> None:
    """Write the weights of a run as a safetensors file."""
    del arguments
    from bigbatch.run_evaluation import export_run

    result = export_run(RunFolder(options.folder), options.file, best=options.best)
    print(f"weights_sha256    {result['weights_sha256']}")
    print(f"weights           {options.file}  (after {result['iteration']} iterations)")
