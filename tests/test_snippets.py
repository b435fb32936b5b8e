"""The documents' snippets: a command is one of ours with a recipe that exists, a table is a recipe's, and Python runs.

The commands of the start page and of the tutorials are run by test_site.py, the README's loop by test_docs.py, and the
examples of docs/recipe.md by test_contracts.py.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from torch import nn

import bigbatch
from bigbatch.cli.options.recipe import resolve_recipe
from bigbatch.cli.parse import parse
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.recipe.file import from_table, with_settings
from bigbatch.recipe.presets import PRESETS, digits
from bigbatch.training.hooks import Moment
from bigbatch.verification.checks.loop import check_loop
from bigbatch.verification.subject import build_subject
from prose import code_blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:\$ )?(?:torchrun .* -m )?bigbatch ([^>]*)")


def commands(page):
    """Yield the words after `bigbatch` of each command in a block."""
    for language in ("", "bash"):
        for block in code_blocks(page.read_text(), language):
            for line in block.replace("\\\n", " ").splitlines():
                if match := COMMAND.match(line):
                    yield shlex.split(match[1], comments=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_is_one_of_ours_with_settings_that_its_recipe_has(page):
    for words in commands(page):
        options = parse(words)
        if getattr(options, "recipe", None) in PRESETS:
            resolve_recipe(options)


def test_commands_are_found_and_a_wrong_one_is_not_taken():
    assert sum(len(list(commands(page))) for page in PAGES) > 40
    with pytest.raises(InputError, match="unknown argument"):
        parse(["train", "digits", "--minibatchsize", "256"])


def merged(table, other):
    """Return a table with the values of another, section by section."""
    sections = {name: merged(table[name], value) for name, value in other.items() if isinstance(value, dict)}
    return {**table, **other, **{name: section for name, section in sections.items() if isinstance(table[name], dict)}}


TABLES = [(page, block) for page in PAGES for block in code_blocks(page.read_text(), "toml")]


@pytest.mark.parametrize(("page", "block"), TABLES, ids=lambda value: getattr(value, "stem", ""))
def test_every_table_is_a_part_of_some_recipe(page, block):  # noqa: ARG001 - the page names the test
    refusals = []
    for preset in PRESETS.values():
        try:
            from_table(merged(preset().to_dict(), tomllib.loads(block)))
        except InputError as error:
            refusals.append(str(error))
        else:
            return
    pytest.fail("\n".join(refusals))


def run_blocks(page, **names):
    """Run a page's Python in order, and return its names."""
    names |= {"bigbatch": bigbatch, "torch": torch}
    for block in code_blocks((ROOT / "docs" / page).read_text(), "python"):
        exec(compile(block, page, "exec"), names)  # noqa: S102 - our own text
    return names


def test_the_snippets_about_data_read_what_they_say():
    dataset = [(torch.randn(3, 4, 4), label % 10) for label in range(512)]
    names = run_blocks("data.md", dataset=dataset, weights=torch.ones(512))
    assert len(names["minibatches"]) == 10_000 // 256
    mixed = bigbatch.Minibatches(
        dataset, minibatch_size=64, worker_minibatch_size=32, collate=names["collate"], transform=names["mixup"]
    )
    batch = next(iter(next(iter(mixed.epoch(0)))))
    assert batch["images"].shape == (32, 3, 4, 4)
    assert len(batch["labels"]) == 2  # and the share


def test_the_snippets_about_metrics_evaluate():
    pixel_losses = nn.CrossEntropyLoss(reduction="none")

    def wrong(outputs, targets):
        return int((outputs.argmax(1) != targets).sum())

    validation = [(torch.randn(3, 4, 4), torch.randint(0, 5, (4, 4))) for _ in range(8)]
    names = {
        "model": nn.Conv2d(3, 5, 1),
        "validation": validation,
        "loss_function": lambda outputs, targets: pixel_losses(outputs, targets).mean((1, 2)),  # one a sample
    }
    with bigbatch.joined() as machine:
        names |= {"machine": machine, "count_wrong": wrong, "count_words": torch.numel}
        scores = run_blocks("metrics.md", **names)["scores"]
    assert 0 < scores.value < 10
    assert scores.num_samples == 8


def test_the_snippets_about_optimizers_and_clipping_update():
    model = nn.Sequential()
    model.add_module("body", nn.Linear(4, 4))
    model.add_module("head", nn.Linear(4, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=1000.0)
    before = [parameter.clone() for parameter in model.parameters()]
    loss_function = nn.CrossEntropyLoss(reduction="none")
    dataset = [(torch.randn(4), 1) for _ in range(8)]
    with bigbatch.joined():
        minibatches = bigbatch.Minibatches(dataset, minibatch_size=8, worker_minibatch_size=4)
        with bigbatch.Step(model, loss_function, optimizer, minibatches) as step:
            minibatch = next(iter(minibatches.epoch(0)))
            names = run_blocks("optimizers.md", model=model, optimizer=optimizer, step=step, minibatch=minibatch)
    moved = [(old - new).square().sum() for old, new in zip(before, model.parameters(), strict=True)]
    assert 0 < sum(moved).sqrt() <= 1000.0 * 1.001  # the rate times the norm that is left
    parts = names["faster_head"]([{"params": list(model.parameters())}], 0.1, model).param_groups
    assert [(part["lr"], len(part["params"])) for part in parts] == [(0.1, 2), (1.0, 2)]


def test_the_snippet_about_portable_numerics_starts_a_program(tmp_path):
    (block,) = code_blocks((ROOT / "docs" / "portable.md").read_text(), "python")
    (tmp_path / "program.py").write_text(f"{block}\nprint(torch.backends.mkldnn.is_available())\n")
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_snippets_about_trackers_print(capsys):
    names = run_blocks("trackers.md")
    names["print_loss"]({"epoch": 1, "loss": 0.5})
    names["print_loss"]({"iteration": 1, "loss": 0.7})
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    names["largest_weight"](Moment("after epoch", epoch=1, iteration=20, model=model, optimizer=optimizer, rank=0))
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_loop_that_is_called_right_is_found_right(tmp_path, monkeypatch):
    (block,) = code_blocks((ROOT / "docs" / "verification.md").read_text(), "python")
    (tmp_path / "right_loop.py").write_text(f"import bigbatch\n\n{block}")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = with_settings(digits(), ["minibatch_size=64", "model.width=2"])
    subject = build_subject(recipe, load_data(recipe.data), torch.device("cpu"))
    assert [check.text for check in check_loop(subject, "right_loop:loop") if not check.is_passed] == []
