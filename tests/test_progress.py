"""The progress that is shown."""

import io

from rich.console import Console

from bigbatch.training import progress
from bigbatch.training.progress import ProgressDisplay


def show(monkeypatch, *, is_terminal, is_shown=True):
    output = io.StringIO()

    def console(**options):
        return Console(file=output, force_terminal=is_terminal, width=120, **options)

    monkeypatch.setattr(progress, "Console", console)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with ProgressDisplay(total_iterations=10, first_iteration=0, epochs=2, is_shown=is_shown) as display:
        display.samples_per_second = 1234.0
        display.say("[bold]not markup[/bold] :warning: \x1b[1A\nforged")
        display.iteration(3, epoch=0, loss=2.5, rate=0.1)
        display.epoch(5, epoch=0, loss=1.5, rate=0.2, results="validation error 12.50 %")
    return output.getvalue()


def test_plain_lines_where_there_is_no_terminal(monkeypatch):
    lines = show(monkeypatch, is_terminal=False).splitlines()
    assert lines[0] == r"[bold]not markup[/bold] :warning: \x1b[1A\nforged"
    assert lines[1].startswith("epoch 1/2  iteration 3/10  loss 2.5000  rate 0.1  1,234 samples/s")
    assert "validation error 12.50 %" in lines[2]
    assert lines[2].endswith("left")
    assert "\x1b" not in "".join(lines)


def test_a_live_line_on_a_terminal(monkeypatch):
    text = show(monkeypatch, is_terminal=True)
    assert "\x1b" in text
    assert "1,234 samples/s" in text


def test_other_ranks_are_silent(monkeypatch):
    assert not show(monkeypatch, is_terminal=False, is_shown=False)
