"""A broken recipe or command line gives a plan, or an error of one printable line."""

import json
import os
import resource
import time

import pytest

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.recipe.file import from_toml, read_recipe
from mutations import mutated_command_lines, mutated_recipes

NUM_RECIPES, NUM_COMMAND_LINES = 750, 350
LONGEST_SECONDS = 5
LONGEST_LINE = 2_100
MOST_KILOBYTES = 300_000


def check_command(arguments, capsys):
    """Run a command here: exit code 0, or 2 with exactly one printable line on standard error."""
    start = time.perf_counter()
    try:
        code = main(arguments)
    except SystemExit as end:  # of --help
        code = end.code
    seconds = time.perf_counter() - start
    out, err = capsys.readouterr()
    assert seconds < LONGEST_SECONDS, arguments
    assert code in {0, 2}, arguments
    if code == 2:
        assert not out
        assert err.startswith("bigbatch: error: "), arguments
        assert err.endswith("\n")
        assert err[:-1].isprintable(), arguments
        assert len(err) < LONGEST_LINE, arguments
    elif "--json" in arguments:
        json.loads(out, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    return code


def test_mutated_recipes_are_read_or_refused_by_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = []
    for name, content in mutated_recipes(NUM_RECIPES):
        (tmp_path / f"{name}.toml").write_bytes(content)
        codes.append(check_command(["plan", f"{name}.toml", "--json"], capsys))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    assert NUM_RECIPES // 50 < codes.count(0) < NUM_RECIPES // 2


def test_mutated_command_lines_are_run_or_refused_by_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    codes = [check_command(arguments, capsys) for arguments in mutated_command_lines(NUM_COMMAND_LINES)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    assert NUM_COMMAND_LINES // 50 < codes.count(0) < NUM_COMMAND_LINES // 2


def test_mutations_are_the_same_every_time():
    assert list(mutated_recipes(60)) == list(mutated_recipes(60))
    assert list(mutated_command_lines(60)) == list(mutated_command_lines(60))
    assert list(mutated_command_lines(60)) != list(mutated_command_lines(60, seed=1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a." * 40_000 + "a = 1", "a line has more than 1000 dots"),  # took tomllib a minute and 6 GB
        ("a = " + "[" * 20_000, "values are nested more than 32 deep"),
        ("[model.arguments]\n" + "a." * 100 + "a = 1", "values are nested more than 32 deep"),
        ("a = " + "9" * 5_000, "a whole number does not fit into 64 bits"),
        ("a = 0x" + "f" * 5_000, "a whole number does not fit into 64 bits"),
        ("a = 9223372036854775808", "a whole number does not fit into 64 bits"),
        ("#" * 100_001, "larger than 100000 bytes"),
    ],
)
def test_more_than_a_recipe_can_need_is_refused_before_it_costs_anything(text, message):
    start = time.perf_counter()
    with pytest.raises(InputError, match=message):
        from_toml(text)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=4611686018427387904", "epochs must be at most 1000000000"),
        ("epochs=1180591620717411303424", "epochs: a whole number does not fit into 64 bits"),
        ("warmup.epochs=1e308", "warmup.epochs must be at most 1000000000"),
        ("schedule.milestones=[1, 1e308]", "schedule.milestones[1] must be at most 9007199254740992"),
        ("schedule.factor=1e308", "the learning rate becomes infinite: 0.8 after scaling, inf at the end"),
        ("reference.learning_rate=1e308", "the learning rate becomes infinite: inf after scaling"),
        ("data.image_size=1000000", "data.image_size must be at most 8192"),
        ("model.width=1000000", "model.width must be at most 65536"),
        ("model.name=cifar-resnet99999999998", "unknown model"),
        ("launch.timeout_seconds=1e300", "launch.timeout_seconds must be a number above 0 and at most 1e9"),
        ("data.path=" + "x" * 5_000, "xxx"),
        ("data.path=a\0b", "a\\x00b"),
    ],
)
def test_extreme_settings_are_refused(setting, message, capsys):
    code = main(["plan", "digits", "--minibatch-size", "256", "--set", "data.name=cifar10", "--set", setting])
    error = capsys.readouterr().err
    assert code == 2, error
    assert message in error
    assert error[:-1].isprintable()


def test_numbers_of_processes_and_machines_have_a_bound(capsys):
    many = ("--set", f"data.num_train_samples={2**53}", "--minibatch-size", str(2**40))
    for option, message in [
        (("--processes", str(2**33)), "must be a whole number from 1 to 65536"),  # a line for each of them
        (("--cluster", "nodes=" + "9" * 400), "cluster: nodes must lie between 1e-06 and 1e+07"),
        (("--cluster", "gbit=5e-324"), "cluster: gbit must lie between 1e-06 and 1e+07"),
    ]:
        assert main(["plan", "imagenet-resnet50", *many, *option]) == 2
        assert message in capsys.readouterr().err


def test_a_recipe_that_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path / "pipe.toml", tmp_path):
        with pytest.raises(InputError, match="it is no file"):
            read_recipe(path)


def test_an_argument_of_ones_own_callable_may_have_any_name(capsys):
    settings = ("data.name=builtins:dict", "data.arguments={name = 1}")
    assert main(["plan", "digits", *(word for setting in settings for word in ("--set", setting))]) == 2
    assert "must return (training dataset, validation dataset)" in capsys.readouterr().err
