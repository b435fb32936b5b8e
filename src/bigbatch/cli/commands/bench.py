"""`bigbatch bench`: one of several measurements of speed."""

from bigbatch.cli.commands.bench_all_reduce import add_bench_all_reduce
from bigbatch.cli.commands.bench_input import add_bench_input
from bigbatch.cli.commands.bench_step import add_bench_step
from bigbatch.cli.options.parser import Commands, add_command, add_commands


def add_bench(commands: Commands) -> None:
    """Add the command with its own commands."""
    parser = add_command(commands, "bench", "Measure the speed of a step, of an all-reduce or of the input.")
    benches = add_commands(parser, name="what", metavar="WHAT")
    add_bench_step(benches)
    add_bench_all_reduce(benches)
    add_bench_input(benches)
