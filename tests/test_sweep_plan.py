"""What a sweep runs: every configuration once, the variants, and what is refused before anything starts."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits, imagenet_resnet50
from bigbatch.study.sweep.jobs import STREAMS, plan_configurations, plan_sweep, with_seed
from bigbatch.study.variants import PLAIN, VARIANTS, parse_variants


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
    assert (jobs[0].name, jobs[0].configuration) == (f"recipe-16-seed{first}", sweep.reference)
    per_seed = len(jobs) // num_seeds
    for number in range(num_seeds):
        block = jobs[number * per_seed : (number + 1) * per_seed]
        assert {job.recipe.seed for job in block} == {first + number}
        assert [job.configuration for job in block] == [job.configuration for job in jobs[:per_seed]]
    asked = {(name, size) for name in names for size in sizes}
    planned = {job.configuration for job in jobs}
    assert planned <= asked | {sweep.reference}
    assert len(asked - planned) == sum(note.startswith("left out") for note in sweep.notes)
    if PLAIN in names:
        assert {(PLAIN, size) for size in sizes} <= planned
    assert all(job.recipe.minibatch_size == job.configuration[1] for job in jobs)
    assert set(sweep.configurations) == planned


def test_a_variant_that_changes_nothing_at_a_size_is_left_out():
    variants = parse_variants("recipe,no-warmup,unscaled,halved-rate,gradual-warmup,loss-mean-per-worker")
    sweep = plan_sweep(digits(), [16, 64], num_seeds=1, variants=variants)
    assert [job.configuration for job in sweep.jobs] == [
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
    rates = {job.configuration: round(job.recipe.base_learning_rate, 3) for job in two.jobs}
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
        (("--seeds", "0"), "argument --seeds: must be a whole number from 1 to 1000, not '0'"),
        (("--seeds", "1000000"), "argument --seeds: must be a whole number from 1 to 1000"),
        (("--variants", "no-warmpu"), "unknown variant 'no-warmpu'; did you mean 'no-warmup'?"),
        (("--variants", "recipe,recipe"), "the variant 'recipe' is there twice"),
        (("--variants", "mine:warmup.epoch=1"), "variant 'mine' at 64: unknown key 'warmup.epoch'; did you mean"),
        (("--variants", "mine:warmup"), "variant 'mine': 'warmup' is not section.field=value"),
        (("--variants", "mine:minibatch_size=64"), "variant 'mine' cannot set minibatch_size; use --minibatch-sizes"),
        (("--variants", "mine:seeds.order=64"), "variant 'mine' cannot set seeds.order; use --vary"),
        (
            ("--variants", "mine:data.image_size=64"),
            "variant 'mine' cannot set data.image_size: results on other data cannot be compared; use --set for all",
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
        (("--margin", "0"), "argument --margin: must be a number above 0"),
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
    monkeypatch.setattr("bigbatch.study.sweep.runner.start", lambda *_, **__: pytest.fail("it has started"))
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
    recipes, _ = plan_configurations(recipe, [16, 256], parse_variants("recipe,halved-rate"))
    rules = {configuration: (planned.is_adascale, planned.is_growing) for configuration, planned in recipes.items()}
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
        recipes, _ = plan_configurations(recipe, [256], parse_variants("recipe"))
        assert recipes["recipe", 16] == replace(recipe, minibatch_size=16)


def test_the_table_of_finished_runs_needs_no_data(tmp_path):
    settings = ["data.name=cifar10", f"data.path={tmp_path / 'none'}"]
    recipe = with_settings(digits(), settings)
    with pytest.raises(InputError, match="does not hold CIFAR-10"):
        plan_sweep(recipe, [64], num_seeds=1)
    sweep = plan_sweep(recipe, [64], num_seeds=1, reads_data=False)
    assert [job.iterations for job in sweep.jobs] == [None, None]


def test_workers_that_a_minibatch_is_too_small_for_are_left_out_and_said():
    configurations, notes = plan_configurations(digits(), [16, 64], parse_variants("recipe,n=32"))
    assert list(configurations) == [("recipe", 16), ("recipe", 64), ("n=32", 64)]
    assert notes == ["left out: n=32 at 16, because that is less than one worker"]


def test_a_size_that_a_growing_minibatch_never_reaches_is_left_out_and_said():
    """The digits' schedule divides the rate by 100 at most."""
    recipe = with_settings(digits(), ["schedule.milestones=[15]", "schedule.factor=0.1"])
    recipes, notes = plan_configurations(recipe, [128, 256], parse_variants("growing"))
    assert set(recipes) == {("recipe", 16), ("growing", 128)}
    assert notes[-1] == "left out: growing at 256, because its schedule lets it grow to 128 at most"
