"""`verify --portable`: an operator with other bits elsewhere is named, and another processor is tried."""

import json
import re
import runpy
from pathlib import Path

import pytest

from bigbatch.verification import emulation
from bigbatch.verification.checks import portability
from bigbatch.verification.checks.portability import NOT_KNOWN, NOT_PORTABLE, check_portability, dispatched, one_worker
from bigbatch.verification.checks.processes import Run
from test_verification import OWN, recipe, subject

POWERS = "model.arguments.layer=powers"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
CARD = json.loads((RESULTS / "portable_operations.json").read_text())
NAMES = {"grid_sample": "grid_sampler_2d", "lstm": "mkldnn_rnn_layer"}  # of what the card names otherwise


@pytest.mark.parametrize(("layer", "named"), [("arctangent", "atan"), ("root", "pow 0.5"), ("in-place", "acos")])
def test_an_operator_that_is_not_portable_is_named(layer, named):
    check = check_portability(subject(*OWN, f"model.arguments.layer={layer}"))
    assert not check.is_passed
    assert check.text.startswith(f"the step uses torch's {named}, with other bits on other processors")


def test_what_qemu_computes_wrongly_is_not_said_to_be_portable():
    check = check_portability(subject(*OWN, "model.arguments.layer=recurrent"))
    assert not check.is_passed
    assert "mkldnn_rnn_layer, which could not be compared" in check.text


@pytest.mark.parametrize("settings", [(*OWN, "optimizer.name=adamw"), ("minibatch_size=64",), (*OWN, POWERS)])
def test_a_plain_training_has_no_such_operator(settings, monkeypatch):
    monkeypatch.setattr(portability, "has_emulator", lambda: False)
    check = check_portability(subject(*settings))
    assert check.is_passed
    assert check.text.endswith("without qemu-x86_64 no other processor was tried")


def test_the_update_and_the_way_back_are_looked_at_too():
    found = {name for name, _ in dispatched(subject(*OWN, "optimizer.name=adamw"))}
    assert {"addmm", "sqrt", "addcdiv", "_log_softmax_backward_data"} <= found


@pytest.mark.parametrize(
    ("there", "line"),
    [
        (
            Run(1, (2.0, 1.0), "ab" * 32),
            "2 iterations of one worker the same on an emulated Haswell, weights abababababab",
        ),
        (Run(1, (2.0, 1.5), "ab" * 32), "here and on an emulated Haswell, the loss of iteration 1 is 1 and 1.5"),
        (Run(1, error="it was given up"), "on an emulated Haswell: it was given up"),
    ],
)
def test_another_processor_is_tried_and_a_difference_named(monkeypatch, there, line):
    monkeypatch.setattr(portability, "has_emulator", lambda: True)
    monkeypatch.setattr(portability, "other_cpu", lambda: "Haswell")
    here = Run(1, (2.0, 1.0), "ab" * 32)
    monkeypatch.setattr(portability, "short_run", lambda *_, train=(), **__: there if "Haswell" in train else here)
    check = check_portability(subject(*OWN))
    assert check.text == line
    assert check.is_passed == (there.losses == here.losses)


def test_one_worker_is_enough_where_the_recipe_allows_it():
    assert one_worker(recipe("minibatch_size=64")).minibatch_size == 16
    adascale = recipe("minibatch_size=64", "scaling.rule=adascale")
    assert one_worker(adascale) == adascale


@pytest.mark.parametrize(("cpu", "other"), [("AuthenticAMD", "Haswell"), ("GenuineIntel", "EPYC")])
def test_the_other_processor_is_of_another_maker(monkeypatch, tmp_path, cpu, other):
    (tmp_path / "cpuinfo").write_text(f"vendor_id\t: {cpu}\n")
    monkeypatch.setattr(emulation, "MAKER", tmp_path / "cpuinfo")
    assert emulation.other_cpu() == other


def test_the_operators_are_those_that_the_card_has_measured():
    differing: dict[str, set[str]] = {}
    wrong = set()
    for operation, cells in CARD["result"]["portable"].items():
        name = operation.partition(" of ")[0]
        if "emulated wrongly" in cells.values():
            wrong.add(NAMES[name])
        else:
            dtypes = {
                f"torch.{dtype}" for cell in cells.values() for dtype in re.findall(r"(\w+) (?:forward|backward)", cell)
            }
            differing.setdefault(name, set()).update(dtypes)
    rare = {"log2": {"torch.float32", "torch.float64"}}  # one in millions: not among the card's numbers
    assert {name: set(dtypes) for name, dtypes in NOT_PORTABLE.items()} == differing | rare
    assert wrong == NOT_KNOWN


def test_a_difference_larger_than_rounding_s_is_the_emulator_s():
    comparison = runpy.run_path(str(RESULTS.parent / "portable" / "comparison.py"))
    one = {"float32": {"forward": "aa 100", "backward": "bb 7"}, "bfloat16": {"refused": "no kernel"}}
    rounded = {"float32": {"forward": "ab 100", "backward": "bb 7"}, "bfloat16": {"refused": "another line"}}
    wrong = {"float32": {"forward": "ac 101", "backward": "bb 7"}, "bfloat16": {"refused": "no kernel"}}
    died = {"float32": {"refused": "its process died"}, "bfloat16": {"refused": "no kernel"}}
    there = {"here": one, "same": one, "rounded": rounded, "wrong": wrong, "died": died}
    cells = comparison["compared"]({cpu: {"family": {"exp": digests}} for cpu, digests in there.items()})
    expected = {"same": "same", "rounded": "float32 forward", "wrong": "emulated wrongly", "died": "emulated wrongly"}
    assert cells == {"family": {"exp": expected}}
