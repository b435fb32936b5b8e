"""`bigbatch bench input`."""

import argparse
from typing import Any

from bigbatch.cli.options.argument_types import not_negative, positive
from bigbatch.cli.options.parser import Commands, add_command, add_json
from bigbatch.cli.options.recipe import add_recipe, resolve_recipe
from bigbatch.cli.output.json import print_json
from bigbatch.cli.output.tables import print_table


def add_bench_input(benches: Commands) -> None:
    """Add the command with its options."""
    parser = add_command(
        benches,
        "input",
        "Measure how many training samples a core reads in a second, stage by stage.",
        details="Where torchvision is installed, its transforms on Pillow take turns with ours.",
    )
    add_recipe(parser, default="fashion-mnist")
    parser.add_argument("--rounds", type=positive, default=9, metavar="N", help="turns of each stage (default: 9)")
    parser.add_argument(
        "--samples", type=positive, default=256, metavar="N", help="samples that a turn reads (default: 256)"
    )
    parser.add_argument(
        "--loader-workers",
        type=not_negative,
        default=1,
        metavar="L",
        help="processes that read ahead in the last stage (default: 1)",
    )
    parser.add_argument(
        "--beside",
        default="",
        metavar="FOLDER",
        help="what torchvision reads, if the recipe's data are tar files or packs",
    )
    add_json(parser)
    parser.set_defaults(run=bench_input_command)


def bench_input_command(options: argparse.Namespace) -> None:
    """Time the input, and print it."""
    recipe = resolve_recipe(options)
    from bigbatch.benchmark.input import bench_input

    result = bench_input(
        recipe,
        rounds=options.rounds,
        samples=options.samples,
        loader_workers=options.loader_workers,
        beside=options.beside,
    )
    if options.json:
        print_json(result)
    else:
        _print(result)


def _print(result: dict[str, Any]) -> None:
    from rich.table import Table

    title = f"samples that a core reads in a second: median of {result['rounds']} rounds (least to largest)"
    table = Table(title=title, title_justify="left")
    headings = ("stage", "bigbatch", *(("Pillow + torchvision", "ratio") if result["torchvision"] else ()))
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, rates in result["stages"].items():
        peer = result["torchvision"].get(name)
        table.add_row(name, _cell(rates), *([_cell(peer), f"{result['ratios'][name]:.2f}"] if peer else ()))
    print_table(table)
    readers = result["loader_workers"]
    by = f"{readers} reader{'' if readers == 1 else 's'}" if readers else "the process itself, without readers,"
    print(f"{by} handed over {result['handed_over_per_second']:,.0f} samples a second")
    if result["decoder"]:
        print(f"decoded by {result['decoder']}")
    if result["not_compared"]:
        print(f"not compared: {result['not_compared']}")


def _cell(rates: dict[str, float]) -> str:
    return f"{rates['median']:,.0f} ({rates['least']:,.0f} to {rates['largest']:,.0f})"
