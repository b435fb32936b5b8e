"""A sweep: every run once, whatever interrupts it; and nothing in the table that did not finish."""

import json
import os
import signal
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trial import Trial, children, is_alive

from bigbatch.cli import main
from bigbatch.cli.sweep import exit_code_of
from bigbatch.cli.sweep_tables import print_results
from bigbatch.errors import InputError
from bigbatch.presets import digits, imagenet_resnet50
from bigbatch.recipe_file import with_settings
from bigbatch.runs import RunFolder
from bigbatch.stop_signals import StopSignals
from bigbatch.sweep.children import Child, Ending, training_arguments
from bigbatch.sweep.gpus import default_jobs, find_gpus
from bigbatch.sweep.jobs import STREAMS, plan_cells, plan_sweep, with_seed
from bigbatch.sweep.results import gather, to_json
from bigbatch.sweep.runner import Runner
from bigbatch.sweep.states import is_to_run, read_states
from bigbatch.sweep.watching import Pace, Running, Watch
from bigbatch.variants import PLAIN, VARIANTS, find_variant, parse_variants

HERE = {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
TINY = ("--set=model.width=4", "--set=reference.minibatch_size=256", "--set=reference.learning_rate=0.8")
TINY_SWEEP = ("sweep", "digits", "--minibatch-sizes=256", "--seeds=3", "--epochs=6", *TINY)
RUNS = ("recipe-256-seed0", "recipe-256-seed1", "recipe-256-seed2")


# Planning


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from(range(16, 1281, 16)), min_size=1, max_size=4, unique=True),
    num_seeds=st.integers(1, 4),
    names=st.lists(st.sampled_from(list(VARIANTS)), min_size=1, max_size=4, unique=True),
    first=st.integers(0, 10),
)
def test_every_run_once_seed_by_seed_the_reference_first(sizes, num_seeds, names, first):
    recipe = replace(digits(), seed=first)
    sweep = plan_sweep(recipe, sizes, num_seeds=num_seeds, variants=parse_variants(",".join(names)))
    jobs = sweep.jobs
    assert len({job.name for job in jobs}) == len(jobs)
    assert (jobs[0].name, jobs[0].cell) == (f"recipe-16-seed{first}", sweep.reference)
    per_seed = len(jobs) // num_seeds
    for number in range(num_seeds):
        block = jobs[number * per_seed : (number + 1) * per_seed]
        assert {job.recipe.seed for job in block} == {first + number}
        assert [job.cell for job in block] == [job.cell for job in jobs[:per_seed]]
    asked = {(name, size) for name in names for size in sizes}
    planned = {job.cell for job in jobs}
    assert planned <= asked | {sweep.reference}
    assert len(asked - planned) == sum(note.startswith("left out") for note in sweep.notes)
    if PLAIN in names:
        assert {(PLAIN, size) for size in sizes} <= planned
    assert all(job.recipe.minibatch_size == job.cell[1] for job in jobs)
    assert set(sweep.cells) == planned


def test_a_variant_that_changes_nothing_at_a_size_is_left_out():
    variants = parse_variants("recipe,no-warmup,unscaled,halved-rate,gradual-warmup,loss-mean-per-worker")
    sweep = plan_sweep(digits(), [16, 64], num_seeds=1, variants=variants)
    assert [job.cell for job in sweep.jobs] == [
        ("recipe", 16),
        ("recipe", 64),
        ("no-warmup", 64),
        ("unscaled", 64),
        ("halved-rate", 16),
        ("halved-rate", 64),
        ("loss-mean-per-worker", 64),
    ]
    assert "left out: gradual-warmup at 64 is the same training as recipe at 64" in sweep.notes


def test_the_papers_tables_are_one_command_each():
    """Tables 1 and 2 of arXiv 1706.02677: their rates, and no run beside their rows."""
    one = plan_sweep(
        imagenet_resnet50(),
        [8192],
        num_seeds=5,
        variants=parse_variants("no-warmup,constant-warmup,gradual-warmup"),
    )
    assert len(one.jobs) == 5 * 4
    names = "recipe,halved-rate,doubled-rate,unscaled,square-root,zero-gamma-off,resnet101:model.name=resnet101"
    two = plan_sweep(imagenet_resnet50(), [256, 8192], num_seeds=5, variants=parse_variants(names))
    rates = {job.cell: round(job.recipe.base_learning_rate, 3) for job in two.jobs}
    assert len(two.jobs) == 5 * len(rates)
    assert rates == {
        ("recipe", 256): 0.1,
        ("recipe", 8192): 3.2,
        ("halved-rate", 256): 0.05,
        ("halved-rate", 8192): 1.6,
        ("doubled-rate", 256): 0.2,
        ("doubled-rate", 8192): 6.4,
        ("unscaled", 8192): 0.1,
        ("square-root", 8192): 0.566,
        ("zero-gamma-off", 256): 0.1,
        ("zero-gamma-off", 8192): 3.2,
        ("resnet101", 256): 0.1,
        ("resnet101", 8192): 3.2,
    }


@pytest.mark.parametrize("varied", [None, (), ("order",), ("initialisation", "augmentation"), STREAMS])
def test_only_what_varies_follows_the_seed(varied):
    recipe = with_seed(replace(digits(), seed=3), 7, varied)
    followed = STREAMS if varied is None else varied
    assert {stream: recipe.seed_of(stream) for stream in STREAMS} == {s: 7 if s in followed else 3 for s in STREAMS}


def test_a_stream_with_a_seed_of_its_own_keeps_it_unless_it_is_to_vary():
    recipe = with_settings(digits(), ["seeds.order=5"])
    assert with_seed(recipe, 7, None).seed_of("order") == 5
    assert with_seed(recipe, 7, ("initialisation",)).seed_of("order") == 5
    assert with_seed(recipe, 7, ("order",)).seed_of("order") == 7


def test_a_loss_divided_by_n_at_the_reference_rate_is_a_weight_decay_divided_by_k():
    """Remark 3 of section 3, with Nesterov's momentum and a changing rate."""
    k, decay, rates = 4, 0.1, [0.01, 0.02, 0.02, 0.005]
    gradients = torch.randn(len(rates), 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def trained(scale_of_gradient, scale_of_rate, weight_decay):
        weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        sgd = torch.optim.SGD([weight], lr=1.0, momentum=0.9, nesterov=True, weight_decay=weight_decay)
        for rate, gradient in zip(rates, gradients, strict=True):
            sgd.param_groups[0]["lr"] = rate * scale_of_rate
            weight.grad = gradient * scale_of_gradient
            sgd.step()
        return weight.detach()

    recipe = with_settings(digits(), [f"optimizer.weight_decay={decay}", "minibatch_size=64"])
    *_, setting = VARIANTS["loss-mean-per-worker"].settings(recipe, 16 * k)
    divided = float(setting.partition("=")[2])
    assert divided == pytest.approx(decay / k)
    torch.testing.assert_close(trained(k, 1, decay), trained(1, k, divided), rtol=1e-12, atol=0)
    assert not torch.allclose(trained(k, 1, decay), trained(1, k, decay))


def test_a_setting_belongs_to_the_name_before_it():
    text = "recipe,mine:schedule.milestones=[1, 2],loss=my.module:loss,epochs=3,n=8,other:model.width=8"
    recipe, mine, workers, other = parse_variants(text)
    assert list(mine.settings(digits(), 16)) == ["schedule.milestones=[1, 2]", "loss=my.module:loss", "epochs=3"]
    assert (recipe.name, workers.name, other.name) == ("recipe", "n=8", "other")
    assert list(workers.settings(digits(), 16)) == ["worker_minibatch_size=8"]


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--minibatch-sizes", "64,100"),
            "minibatch_size 100 is not divisible by worker_minibatch_size 16; the nearest",
        ),
        (("--minibatch-sizes", "64,2048"), "recipe at 2048: minibatch_size 2048 is larger than the data set of 1280"),
        (("--minibatch-sizes", "8"), "minibatch_size 8 is smaller than worker_minibatch_size 16"),
        (("--minibatch-sizes", "64,64"), "the minibatch size 64 is there twice; name each once"),
        (("--minibatch-sizes", "0"), "argument --minibatch-sizes: must be a whole number of at least 1, not '0'"),
        (("--minibatch-sizes", "64,"), "argument --minibatch-sizes: must be a whole number of at least 1, not ''"),
        ((), "the following arguments are required: --minibatch-sizes"),
        (("--processes", "2"), "recipe at 16: 2 processes are more than the 1 workers of a minibatch"),
        (("--seeds", "0"), "argument --seeds: must be a whole number of at least 1, not '0'"),
        (("--seeds", "1000000"), "argument --seeds: must be at most 1000"),
        (("--variants", "no-warmpu"), "unknown variant 'no-warmpu'; did you mean 'no-warmup'?"),
        (("--variants", "recipe,recipe"), "the variant 'recipe' is there twice"),
        (("--variants", "mine:warmup.epoch=1"), "variant 'mine' at 64: unknown key 'warmup.epoch'; did you mean"),
        (("--variants", "mine:warmup"), "variant 'mine': 'warmup' is no section.field=value"),
        (("--variants", "mine:minibatch_size=64"), "variant 'mine' cannot set minibatch_size; use --minibatch-sizes"),
        (("--variants", "mine:seeds.order=64"), "variant 'mine' cannot set seeds.order; use --vary"),
        (
            ("--variants", "mine:data.image_size=64"),
            "variant 'mine' cannot set data.image_size: errors on other data cannot be compared; use --set for all",
        ),
        (
            (
                *("--variants", "mine:growth.kind=schedule,growth.start=16"),
                *("--processes", "2", "--set", "reference.minibatch_size=32"),
            ),
            "mine at 64: 2 processes are more than the 1 workers of a minibatch",
        ),
        (
            ("--variants", "mine:data={name='digits'}"),
            "variant 'mine' cannot set all of data; set its fields one by one",
        ),
        (("--set", "data.name=cifar10"), "cifar10 needs its data: set data.path to"),
        (
            ("--set", "data.name=image-folder", "--set", "data.num_train_samples=9000", "--set", "data.path=/none"),
            "there is no data folder /none; set data.path to one with train/",
        ),
        (("--variants", "../x:epochs=1"), "the name of the variant '../x:' must be letters"),
        (("--variants", "recipe:epochs=1"), "the name of the variant 'recipe:' is taken"),
        (
            ("--variants", "n=24"),
            "variant 'n=24' at 64: minibatch_size 64 is not divisible by worker_minibatch_size 24",
        ),
        (("--vary", "odrer"), "argument --vary: 'odrer' is unknown; did you mean 'order'?"),
        (("--margin", "0"), "argument --margin: must be percentage points above 0"),
        (("--output", "run"), "run is the folder of a run, not of a sweep"),
        (("--output", "other"), "other/recipe-64-seed0 cannot resume: the recipe differs in epochs: 3 -> 30"),
        (("--output", "thesis"), "thesis/recipe-16-seed1 is not empty and holds no run"),
        (("--output", "/dev/null/x"), "cannot write the run to /dev/null/x"),
    ],
)
def test_what_is_impossible_is_one_line_before_anything_starts(
    arguments, message, record_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    record_run("run")
    record_run("other/recipe-64-seed0", replace(digits(), minibatch_size=64, epochs=3))
    (tmp_path / "thesis" / "recipe-16-seed1").mkdir(parents=True)
    (tmp_path / "thesis" / "recipe-16-seed1" / "text").touch()
    monkeypatch.setattr("bigbatch.sweep.runner.start", lambda *_, **__: pytest.fail("it has started"))
    sizes = () if not arguments or arguments[0] == "--minibatch-sizes" else ("--minibatch-sizes", "64")
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", "digits", *sizes, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_the_recipes_own_size_does_not_matter(bigbatch):
    """It is smaller than one worker here, and the reference is one smaller worker."""
    done = bigbatch("sweep", "digits", "--minibatch-sizes=64,256", "--set=worker_minibatch_size=32", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "15 runs" in done.stdout


@pytest.mark.parametrize("own", ["scaling.rule=adascale", "growth.kind=noise-scale,growth.start=64"])
def test_a_recipe_that_adapts_is_compared_with_its_reference_which_does_not(own):
    recipe = with_settings(digits(), ["minibatch_size=256", *own.split(",")])
    recipes, _ = plan_cells(recipe, [16, 256], parse_variants("recipe,halved-rate"))
    rules = {cell: (planned.is_adascale, planned.is_growing) for cell, planned in recipes.items()}
    adapts = recipe.is_adascale, recipe.is_growing
    assert rules == {
        ("recipe", 16): (False, False),
        ("recipe", 256): adapts,
        ("halved-rate", 16): (False, False),
        ("halved-rate", 256): adapts,
    }


def test_a_reference_at_which_a_recipe_may_say_all_that_it_says_is_left_as_it_is():
    """Finished runs are known by their whole recipe."""
    for own in ("growth.kind=schedule", "scaling.rule=adascale,worker_minibatch_size=8"):
        recipe = with_settings(digits(), ["minibatch_size=256", *own.split(",")])
        recipes, _ = plan_cells(recipe, [256], parse_variants("recipe"))
        assert recipes["recipe", 16] == replace(recipe, minibatch_size=16)


def test_the_table_of_finished_runs_needs_no_data(tmp_path):
    settings = ["data.name=cifar10", f"data.path={tmp_path / 'none'}"]
    recipe = with_settings(digits(), settings)
    with pytest.raises(InputError, match="does not hold CIFAR-10"):
        plan_sweep(recipe, [64], num_seeds=1)
    sweep = plan_sweep(recipe, [64], num_seeds=1, reads_data=False)
    assert [job.iterations for job in sweep.jobs] == [None, None]


def test_a_size_that_a_growing_minibatch_never_reaches_is_left_out_and_said():
    """The digits' schedule divides the rate by 100 at most."""
    recipe = with_settings(digits(), ["schedule.milestones=[15]", "schedule.factor=0.1"])
    recipes, notes = plan_cells(recipe, [128, 256], parse_variants("growing"))
    assert set(recipes) == {("recipe", 16), ("growing", 128)}
    assert notes[-1] == "left out: growing at 256, for its schedule lets it grow to 128 at most"


# States and results


@pytest.fixture
def sweep(tmp_path):
    return plan_sweep(
        digits(), [64, 256], num_seeds=3, variants=parse_variants("recipe,unscaled"), output=tmp_path / "s"
    )


@pytest.fixture
def record(record_run, sweep):
    """Return a function that writes a run of the sweep that nobody trained."""

    def recorded(name, validation_error=None, **fields):
        job = next(job for job in sweep.jobs if job.name == name)
        fields |= {"validation_error": validation_error, "iterations": job.iterations}
        record_run(f"s/{name}", job.recipe, **fields)

    return recorded


def test_the_tables_numbers_are_those_of_the_finished_runs_alone(sweep, record):
    reference, larger = [1.0, 1.5, 1.25], [3.0, 3.5]
    for seed, error in enumerate(reference):
        record(f"recipe-16-seed{seed}", error)
    for seed, error in enumerate(larger):
        record(f"recipe-256-seed{seed}", error)
    record("recipe-256-seed2", 90.0, status="stopped")
    record("recipe-64-seed0", 2.0)
    record("recipe-64-seed1", status="failed", exit_code=3, error="the loss is NaN at iteration 1: worker 0")
    record("unscaled-64-seed0", 50.0, status="failed", exit_code=1, error="no")
    states = read_states(sweep.jobs)
    results = gather(sweep, states, margin=0.5)
    rows = {(row["variant"], row["minibatch_size"]): row for row in to_json(sweep, results)["rows"]}
    assert list(rows) == [("recipe", 16), ("recipe", 64), ("recipe", 256), ("unscaled", 64), ("unscaled", 256)]
    assert (rows["recipe", 16]["mean"], rows["recipe", 16]["std"]) == (mean(reference), stdev(reference))
    row = rows["recipe", 256]
    assert (row["seeds_finished"], row["seeds_asked"], row["errors"]) == (2, 3, {"0": 3.0, "1": 3.5})
    assert (row["mean"], row["std"], row["difference"]) == (3.25, stdev(larger), 2.0)
    assert row["verdict"]["kind"] == "worse"
    assert (row["learning_rate"], row["iterations"]) == (0.8, 150)
    assert rows["recipe", 64]["seeds_diverged"] == 1
    assert rows["recipe", 64]["verdict"] is None, "those that are left are the lucky ones"
    assert rows["unscaled", 64]["mean"] is None
    kinds = {job.name: state.kind for job, state in results.unfinished}
    assert kinds["recipe-256-seed2"] == "interrupted"
    assert kinds["recipe-64-seed1"] == "diverged"
    assert kinds["unscaled-64-seed0"] == "failed"
    assert kinds["unscaled-64-seed1"] == "missing"
    to_run = {name for name, state in states.items() if is_to_run(state, retry_failed=False)}
    assert to_run == kinds.keys() - {"recipe-64-seed1"}
    assert is_to_run(states["recipe-64-seed1"], retry_failed=True)


def test_what_is_printed_names_what_is_not_in_the_table(sweep, record, capsys):
    for seed in range(3):
        record(f"recipe-16-seed{seed}", 1.0 + seed)
    record("recipe-64-seed1", status="failed", exit_code=3, error="the loss is NaN at iteration 1: worker 0; lower")
    failed = next(job for job in sweep.jobs if job.name == "recipe-64-seed0")
    print_results(sweep, read_states(sweep.jobs), [Ending(failed, "failed", reason="no room")], margin=1, as_json=False)
    printed = capsys.readouterr().out
    assert "2.00 ± 1.00" in printed
    assert "1 of 3 diverged" in printed
    assert "failed: recipe-64-seed0: no room (" in printed
    assert "diverged: recipe-64-seed1: the loss is NaN at iteration 1 (" in printed
    assert "runs not started: 10\n" in printed
    assert "4 of 15 runs are done; the same command goes on" in printed


def test_without_scipy_there_are_means_and_a_word_on_what_to_install(sweep, record, monkeypatch):
    for job in sweep.jobs:
        record(job.name, 1.0 + job.recipe.seed)
    monkeypatch.setattr("bigbatch.statistics.judgement.find_spec", lambda _: None)
    results = gather(sweep, read_states(sweep.jobs))
    assert "pip install 'bigbatch[stats]'" in results.remark
    assert {(row.verdict, len(row.errors)) for row in results.rows} == {(None, 3)}


def test_a_dry_run_starts_nothing(bigbatch, record_run, tmp_path):
    record_run("s/recipe-16-seed0")
    done = bigbatch("sweep", "digits", "--minibatch-sizes", "64", "--seeds", 2, "--dry-run", "--output", "s", "--json")
    assert done.returncode == 0, done.stderr
    planned = {row["run"]: (row["iterations"], row["state"]) for row in json.loads(done.stdout)}
    assert planned == {
        "recipe-16-seed0": (2400, "finished"),
        "recipe-64-seed0": (600, "missing"),
        "recipe-16-seed1": (2400, "missing"),
        "recipe-64-seed1": (600, "missing"),
    }
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["recipe-16-seed0"]


# What goes on


class Silent:
    """A display that keeps what it is told."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)

    def show(self, num_done, running, seconds_left):
        pass


def test_after_three_failures_in_a_row_no_more_are_started(sweep, monkeypatch):
    def start(job, **_):
        msg = f"no room for {job.name}"
        raise InputError(msg)

    monkeypatch.setattr("bigbatch.sweep.runner.start", start)
    display = Silent()
    runner = Runner(sweep.jobs, num_done=0, at_once=2, processes=1, gpus=[], display=display, pace=Pace())
    with StopSignals(what_follows="") as signals:
        endings = runner.run(signals)
    assert [ending.kind for ending in endings] == ["failed"] * 3
    assert display.said[-1] == "3 runs have failed one after the other: no more are started"
    assert exit_code_of(endings, is_stopped=False) == 1


def test_runs_at_once_have_gpus_of_their_own_as_long_as_there_are_enough(sweep, monkeypatch, tmp_path):
    def start(job, **given):
        told.append((given["place"], given["environment"].get("CUDA_VISIBLE_DEVICES")))
        running = Running(job, Watch(tmp_path))
        return Child(running, Namespace(poll=lambda: 0), tmp_path, 0, given["place"])

    told = []
    monkeypatch.setattr("bigbatch.sweep.runner.start", start)
    monkeypatch.setattr("bigbatch.sweep.runner.ending_of", lambda child, **_: Ending(child.running.job, "diverged"))
    for gpus in (["4", "5", "7"], ["4"]):
        runner = Runner(sweep.jobs[:3], num_done=0, at_once=2, processes=1, gpus=gpus, display=Silent(), pace=Pace())
        with StopSignals(what_follows="") as signals:
            runner.run(signals)
    assert told == [(0, "4"), (1, "5"), (0, "4"), (0, None), (1, None), (0, None)]
    for name in "ab":
        (tmp_path / "gpus" / name).mkdir(parents=True)
    assert find_gpus({}, tmp_path / "gpus") == ["0", "1"]
    assert find_gpus({}, tmp_path / "none") == []
    assert default_jobs(2, ["0", "1", "2", "3", "4"]) == 2
    assert default_jobs(64, ["0"]) == 1


def test_a_run_that_goes_on_takes_what_the_result_does_not_depend_on_from_the_sweep(sweep, record):
    record("recipe-16-seed0")
    job = sweep.jobs[0]
    assert not [a for a in training_arguments(job, processes=1) if a.startswith("--set")]
    changed = replace(job, recipe=with_settings(job.recipe, ["launch.on_nonfinite=skip", "data.path=/a b"]))
    arguments = [a for a in training_arguments(changed, processes=1) if a.startswith("--set")]
    assert sorted(arguments) == ['--set=data.path="/a b"', '--set=launch.on_nonfinite="skip"']


def test_metrics_are_read_as_they_grow_and_by_whole_lines(tmp_path):
    metrics = tmp_path / "metrics.jsonl"
    assert Watch(tmp_path).error is None
    metrics.write_text('{"epoch": 1, "validation_error": 50.0}\n')
    watch = Watch(tmp_path)
    with metrics.open("a") as file:
        file.write('{"iteration": 3, "loss": 1}\n{"epoch": 2, "validation_')
        file.flush()
        watch.look()
        assert (watch.epoch, watch.first_epoch) == (1, 1)
        file.write('error": 30.0}\nno json "validation_error"\n')
        file.flush()
    watch.look()
    assert (watch.epoch, watch.error, watch.total_epochs) == (2, 40.0, None)
    with metrics.open("a") as file:
        file.write('{"epoch": 3, "validation_error": 20.0, "total_epochs": 7}\n')
    watch.look()
    assert (watch.epoch, watch.total_epochs) == (3, 7)


def test_the_time_left_follows_from_the_epochs_that_are_over(sweep, tmp_path, monkeypatch):
    small, large = (next(j for j in sweep.jobs if j.cell == (PLAIN, size)) for size in (16, 256))
    pace = Pace.of_finished([(small, 60.0), (large, 30.0), (large, None)])
    waiting = [
        small,
        large,
        next(j for j in sweep.jobs if j.cell == (PLAIN, 64)),
    ]  # of which nothing is known: the mean
    assert pace.seconds_left(waiting, [], at_once=1) == pytest.approx(60 + 30 + 45)
    assert pace.seconds_left(waiting, [], at_once=3) == pytest.approx(60), "the longest run"
    slow = next(j for j in sweep.jobs if j.cell == ("unscaled", 256))
    assert pace.seconds_left([slow], [], at_once=1) == pytest.approx(30), "what its size costs in other variants"
    both = Pace.of_finished([(small, 60.0), (large, 30.0), (slow, 90.0)])
    assert both.seconds_left([large, slow], [], at_once=1) == pytest.approx(30 + 90)
    run = Running(small, Watch(tmp_path), since=0.0)
    run.watch.errors |= {1: 9.0, 2: 9.0, 3: 9.0}
    monkeypatch.setattr("time.monotonic", lambda: 12.0)
    assert Pace().seconds_left([], [run], at_once=1) == pytest.approx(27 * 4), "by its own pace"
    assert Pace().seconds_left(waiting, [], at_once=1) is None
    run.watch.total_epochs = 60  # AdaScale: it expects to train twice as long
    assert Pace().seconds_left([], [run], at_once=1) == pytest.approx(57 * 4)
    assert Pace().seconds_left([small], [run], at_once=1) == pytest.approx(57 * 4 + 60 * 4), "and so will the next"


# Processes


def run_json(folder):
    """Return what is known of a run, or nothing."""
    return RunFolder(folder).read_summary_or_nothing()


def states_of(folder):
    """Return the status of every run of a sweep."""
    return {path.name: run_json(path).get("status") for path in sorted(folder.glob("recipe-*"))}


def times_of(folder, names):
    """Return when run.json was last written."""
    return {name: (folder / name / "run.json").stat().st_mtime_ns for name in names}


@pytest.fixture
def trial(tmp_path):
    """Return a sweep of three tiny runs in tmp_path/s, to be started; what it prints goes to a file."""
    trial = Trial(tmp_path / "s", *TINY_SWEEP)
    yield trial
    if trial.process and trial.process.poll() is None:
        trial.process.kill()
        trial.process.wait()


def test_whatever_ends_it_a_sweep_goes_on_and_repeats_nothing(trial, bigbatch, tmp_path, capsys):
    """SIGTERM, then kill -9, then to the end; a second sweep meanwhile is refused."""
    first, second, third = RUNS
    folder = trial.folder
    trial.start("--jobs=1").wait_for(lambda: Watch(folder / second).epoch)
    trial.kill(trial.launcher(), signal.SIGTERM)
    assert trial.wait() == 75, trial.printed()
    assert "SIGTERM: what is going on (1) saves and stops\n" in trial.printed()
    assert "1 of 3 runs are done; the same command goes on" in trial.printed()
    assert states_of(folder) == {first: "finished", second: "stopped"}

    trial.start("--jobs=2").wait_for(lambda: Watch(folder / third).epoch)
    assert main([*TINY_SWEEP, "--output", str(folder)]) == 2
    refused = capsys.readouterr().err
    assert f"another sweep is writing to {folder}; wait for it" in refused
    assert refused.count("\n") == 1
    assert main([*TINY_SWEEP, "--output", str(folder), "--show"]) == 0
    assert "running: " in capsys.readouterr().out
    runs = children(trial.launcher())
    assert runs
    trial.kill(trial.launcher())
    trial.wait()
    wait_until_gone(runs)
    done = [name for name, status in states_of(folder).items() if status == "finished"]
    assert (first in done, third in done) == (True, False)

    before = times_of(folder, done)
    assert trial.run("--jobs=2") == 0, trial.printed()
    assert f"3 runs in {folder}, {len(done)} of them are there already; " in trial.printed()
    assert times_of(folder, done) == before
    assert states_of(folder) == dict.fromkeys(RUNS, "finished")
    assert [len(run_json(folder / name)["attempts"]) for name in (first, third)] == [1, 2]

    undisturbed = bigbatch("train", folder / third / "recipe.toml", "--output=undisturbed", "--processes=1")
    assert undisturbed.returncode == 0, undisturbed.stderr
    weights = run_json(tmp_path / "undisturbed")["weights_sha256"]
    assert run_json(folder / third)["weights_sha256"] == weights


def wait_until_gone(processes):
    """Wait until processes have ended that are no children of ours."""
    deadline = time.monotonic() + 30
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, "the runs have outlived their sweep"
        os.sched_yield()


def test_a_divergence_is_a_result_and_a_failure_is_named_and_the_sweep_goes_on(bigbatch, tmp_path):
    variants = "huge:reference.learning_rate=1e30,broken:loss=user_models:no_such_loss,recipe"
    command = ("sweep", "digits", "--minibatch-sizes", "256", "--seeds", 1, "--variants", variants, "--epochs", 1)
    command = (*command, *TINY, "--output", "s", "--jobs", 2)
    done = bigbatch(*command, "--json", **HERE)
    assert done.returncode == 1, done.stderr
    table = json.loads(done.stdout)
    rows = {(row["variant"], row["minibatch_size"]): row for row in table["rows"]}
    error = json.loads((tmp_path / "s" / "recipe-256-seed0" / "run.json").read_text())["validation_error"]
    assert rows["recipe", 256]["mean"] == error
    assert rows["recipe", 256]["std"] is None
    assert (rows["huge", 256]["mean"], rows["huge", 256]["seeds_diverged"]) == (None, 1)
    assert rows["broken", 256]["mean"] is None
    assert "failed: 'user_models:no_such_loss': module 'user_models' has no callable 'no_such_loss'" in done.stderr
    again = bigbatch(*command, **HERE)
    assert again.returncode == 1, again.stderr
    assert "3 runs in s, 2 of them are there already; 1 at once" in again.stdout
    assert "diverged: huge-256-seed0: the loss or a gradient is NaN or infinite at iteration" in again.stdout
    assert "failed: broken-256-seed0: 'user_models:no_such_loss'" in again.stdout
    runs = json.loads(bigbatch("runs", "s", "--json").stdout)
    assert {Path(row["run"]).name: row["state"] for row in runs} == {
        "recipe-256-seed0": "finished",
        "huge-256-seed0": "failed",
        "broken-256-seed0": "damaged",  # it has ended before it could say anything
    }


def test_every_variant_has_its_meaning_in_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        main(["sweep", "--list-variants"])
    assert end.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(VARIANTS)]] == list(VARIANTS)
    assert all("arXiv" in line or line.startswith("recipe ") for line in lines[: len(VARIANTS)])
    assert find_variant("recipe").settings(digits(), 16) == ()
