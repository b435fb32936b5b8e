"""The schedules: torch's own where it has one, and laws of the others."""

import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torchs

from bigbatch.errors import InputError
from bigbatch.planning.plan import Plan
from bigbatch.recipe.course import course_of
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.rules.learning_rate import LearningRate
from bigbatch.rules.plateau import Plateau
from bigbatch.rules.schedules import FALLS, SCHEDULES, one_cycle

TOTAL, BASE = 60, 0.7


def torch_rates(make, total=TOTAL, results=None):
    """Return the rate of every iteration under a scheduler of torch's."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler, rates = make(optimizer), []
    for i in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([] if results is None else [results[i]]))
    return rates


def our_rates(schedule, total=TOTAL, milestones=(), factor=0.1, **options):
    rate = LearningRate(BASE, BASE, "none", 0, schedule, milestones, factor, total, options)
    return [rate(i) for i in range(total)]


def stable_then_linear(optimizer):
    stable = torchs.ConstantLR(optimizer, factor=1.0)
    decay = torchs.LinearLR(optimizer, 1.0, 0.0, total_iters=12)
    return torchs.SequentialLR(optimizer, [stable, decay], milestones=[48])


CASES = {
    "step": (("step", {"milestones": (20, 45), "factor": 0.3}), lambda o: torchs.MultiStepLR(o, [20, 45], 0.3)),
    "constant": (("constant", {}), lambda o: torchs.ConstantLR(o, 1.0)),
    "cosine": (("cosine", {}), lambda o: torchs.CosineAnnealingLR(o, TOTAL)),
    "floor": (("cosine", {"floor": 0.1}), lambda o: torchs.CosineAnnealingLR(o, TOTAL, eta_min=0.1 * BASE)),
    "restarts": (
        ("cosine", {"floor": 0.02, "period": 7, "period_factor": 2}),
        lambda o: torchs.CosineAnnealingWarmRestarts(o, 7, 2, eta_min=0.02 * BASE),
    ),
    "equal periods": (("cosine", {"period": 11}), lambda o: torchs.CosineAnnealingWarmRestarts(o, 11)),
    "linear": (("linear", {}), lambda o: torchs.LinearLR(o, 1.0, 0.0, total_iters=TOTAL)),
    "linear to a floor": (("linear", {"floor": 0.2}), lambda o: torchs.LinearLR(o, 1.0, 0.2, total_iters=TOTAL)),
    "polynomial": (("polynomial", {"power": 0.9}), lambda o: torchs.PolynomialLR(o, TOTAL, 0.9)),
    "stable": (("warmup-stable-decay", {"share": 0.2}), stable_then_linear),
    "one cycle": (("one-cycle", {}), lambda o: torchs.OneCycleLR(o, BASE, TOTAL)),
    "one cycle of other shape": (
        ("one-cycle", {"share": 0.45, "start_divisor": 10, "end_divisor": 100}),
        lambda o: torchs.OneCycleLR(o, BASE, TOTAL, pct_start=0.45, div_factor=10, final_div_factor=100),
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("case", CASES)
def test_every_rate_is_torchs(case):
    (schedule, options), make = CASES[case]
    assert our_rates(schedule, **options) == pytest.approx(torch_rates(make), rel=1e-9, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 90), st.floats(0.05, 0.95), st.floats(1, 50), st.floats(1, 1e5))
def test_one_cycle_is_torchs_for_any_length_and_shape(total, share, start, end):
    if share * total <= 1:  # torch divides by zero, or starts within its second phase
        return
    ours = [one_cycle(BASE, i, total, share=share, start_divisor=start, end_divisor=end) for i in range(total)]
    shape = {"pct_start": share, "div_factor": start, "final_div_factor": end}
    torch_ones = torch_rates(lambda o: torchs.OneCycleLR(o, BASE, total, **shape), total - 1)
    assert ours[:-1] == pytest.approx(torch_ones, rel=1e-6, abs=1e-12)
    assert ours[-1] == pytest.approx(BASE / start / end)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([1.0, 2.0, 3.0, math.nan]), max_size=40),
    st.integers(0, 4),
    st.sampled_from(["lower", "higher"]),
)
def test_a_plateau_is_torchs_whatever_the_results_are(results, patience, better):
    seen, ours = Plateau(), []
    for result in results:
        ours.append(BASE * 0.5**seen.reductions)
        seen = seen.after(result, patience=patience, better=better)
    mode = {"lower": "min", "higher": "max"}[better]
    make = lambda o: torchs.ReduceLROnPlateau(o, mode, 0.5, patience, threshold=0.0, eps=0.0)  # noqa: E731
    assert ours == pytest.approx(torch_rates(make, len(results), results))


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(1, 300), st.floats(0, 1.2))
def test_a_rate_is_never_negative_nor_above_the_base_and_stays_after_the_end(name, total, place):
    rate = SCHEDULES[name](BASE, place * total, total)
    assert 0 <= rate <= BASE * (1 + 1e-12)
    assert SCHEDULES[name](BASE, 2 * total, total) == SCHEDULES[name](BASE, 3 * total, total)


@given(st.sampled_from(FALLS), st.integers(1, 300), st.floats(0, 1), st.floats(0, 1))
def test_what_is_said_to_fall_falls(name, total, a, b):
    early, late = sorted((a, b))
    options = {"milestones": (total // 3, total // 2)} if name == "step" else {}
    at = [SCHEDULES[name](BASE, place * total, total, **options) for place in (early, late)]
    assert at[0] >= at[1] * (1 - 1e-12)


def test_the_decay_by_a_root_falls_fast_at_first():
    rates = our_rates("warmup-stable-decay", share=0.5, decay="1-sqrt")
    assert rates[:31] == [BASE] * 31
    assert rates[30 + 15 // 2] == pytest.approx(BASE * (1 - math.sqrt((15 // 2) / 30)))


SIZES = {"reference": 256, "minibatch_size": 8192, "epochs": 90, "iterations_per_epoch": 10}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": "linear"}, "warmup 'linear' is unknown"),
        ({"schedule": "Cosine"}, "did you mean 'cosine'"),
        ({"schedule": "plateau"}, "schedule 'plateau' is unknown"),
        ({"schedule": None}, "schedule 'None' is unknown"),
        ({"floor": 1.5}, "floor must be a number from 0 to 1, not 1.5"),
        ({"flor": 0.5}, "did you mean 'floor'"),
        ({"schedule": "constant", "floor": 0.5}, "floor is no option of the schedule 'constant'; it has none"),
        ({"schedule": "polynomial", "power": 0}, "power must be a number above 0"),
        ({"schedule": "warmup-stable-decay", "decay": "sqrt"}, "decay must be 'linear' or '1-sqrt', not sqrt"),
        ({"schedule": "warmup-stable-decay", "share": 0}, "share must be"),
        ({"period": -1}, "period must be a number of at least 0"),
        ({"period": "week"}, "period must be a number of at least 0"),
        ({"warmup_epochs": -1}, "warmup_iterations must be a number of at least 0"),
        ({"epochs": -1}, "total_iterations must be a number of at least 0"),
        ({"milestones": (30, 20)}, "milestones must rise"),
        ({"factor": math.nan}, "factor must be a number above 0"),
        ({"reference": 0}, "reference must be a number above 0"),
    ],
)
def test_what_no_schedule_can_be_is_refused_by_the_constructor(options, message):
    with pytest.raises(InputError, match=message):
        LearningRate.scaled(0.1, **{**SIZES, **options})


def test_words_are_refused_without_the_one_call_too():
    for words in (("linear", "cosine"), ("gradual", "linearr"), ("", "step")):
        with pytest.raises(InputError, match="is unknown"):
            LearningRate(0.1, 0.1, words[0], 0, words[1], (), 0.1, 10)
    with pytest.raises(InputError, match="base must be a number above 0, not -1"):
        LearningRate(0.1, -1, "gradual", 0, "cosine", (), 0.1, 10)
    with pytest.raises(InputError, match="warms up by itself"):
        LearningRate(0.1, 0.2, "gradual", 5, "one-cycle", (), 0.1, 10)


def test_one_cycle_scales_its_peak_and_has_no_warmup_before_it():
    rate = LearningRate.scaled(0.1, **SIZES, schedule="one-cycle")
    assert max(rate(i) for i in range(900)) == pytest.approx(3.2)
    assert rate(0) == pytest.approx(3.2 / 25)


def test_a_period_is_in_epochs_and_starts_after_the_warmup():
    rate = LearningRate.scaled(0.1, **SIZES, period=20)
    assert [rate(50 + epoch * 10) for epoch in (0, 20, 40)] == pytest.approx([3.2] * 3)
    assert rate(50 + 199) < 0.001


# A function of the user's

CODE = """
import math, itertools
count = itertools.count()
def half(progress, floor=0.0): return floor + (1 - progress) / 2
def nan(progress): return math.nan if progress > 0.5 else 1.0
def negative(progress): return 0.5 - progress
def word(progress): return "0.5"
def nothing(progress): return None
def infinite(progress): return 1 / (1e-320 + 0 * progress)
def moves(progress): return next(count) % 2
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    (tmp_path / "own_rates.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_rates", None)


def with_schedule(*changes):
    return with_settings(digits(), changes)


@pytest.mark.usefixtures("code")
def test_a_function_of_progress_is_the_same_at_every_size():
    """Halfway through, whatever the minibatch size: half the scaled rate times the factor."""
    for size in (16, 64, 256):
        kind = ("schedule.kind=own_rates:half", "schedule.arguments={floor=0.25}")
        course = course_of(with_schedule(f"minibatch_size={size}", *kind), 1280)
        assert course.schedule(course.total_iterations / 2) == pytest.approx(0.05 * size / 16 * 0.5)


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("name", ["nan", "negative", "word", "nothing", "infinite", "moves"])
def test_a_function_that_gives_no_factor_is_refused_before_the_training(name):
    with pytest.raises(InputError, match=r"it must (return|depend on nothing else)"):
        course_of(with_schedule(f"schedule.kind=own_rates:{name}"), 1280)


@pytest.mark.usefixtures("code")
def test_arguments_that_the_function_does_not_take_are_refused():
    with pytest.raises(InputError, match="'own_rates:half' does not take these arguments"):
        course_of(with_schedule("schedule.kind=own_rates:half", "schedule.arguments={flor=1}"), 1280)
    with pytest.raises(InputError, match="has no callable 'whole'"):
        course_of(with_schedule("schedule.kind=own_rates:whole"), 1280)


@pytest.mark.usefixtures("code")
def test_its_module_is_one_of_those_that_the_run_depends_on():
    assert "own_rates:half" in with_schedule("schedule.kind=own_rates:half").user_code


# In a recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["schedule.kind=cosin"], "did you mean 'cosine'"),
        (
            ["schedule.floor=0.1"],
            "schedule.floor is of cosine, linear, polynomial, warmup-stable-decay; 'step' takes none",
        ),
        (["schedule.kind=cosine", "schedule.power=2"], "schedule.power is of polynomial; 'cosine' takes none"),
        (["schedule.kind=cosine", "schedule.floor=2"], "schedule.floor must be a number from 0 to 1, not 2"),
        (["schedule.kind=one-cycle", "schedule.share=1.5"], "schedule.share must be"),
        (["schedule.patience=3"], "schedule.patience is of plateau"),
        (["schedule.arguments={a=1}"], "schedule.arguments is for package.module:callable"),
        (["schedule.kind=one-cycle", "growth.kind=schedule", "minibatch_size=64"], "needs a schedule that only falls"),
        (["schedule.kind=plateau", "growth.kind=schedule", "minibatch_size=64"], "needs a schedule that only falls"),
        (["schedule.kind=cosine", "schedule.period=5", "growth.kind=schedule", "minibatch_size=64"], "only falls"),
    ],
)
def test_a_section_refuses_what_it_would_not_do(changes, message):
    with pytest.raises(InputError, match=message):
        with_schedule(*changes)


def test_every_kind_survives_toml_and_plans():
    options = {"cosine": ["period=4", "period_factor=2.0", "floor=0.1"], "polynomial": ["power=0.9"]}
    for kind in (*SCHEDULES, "plateau"):
        recipe = with_schedule(f"schedule.kind={kind}", *(f"schedule.{o}" for o in options.get(kind, [])))
        assert from_toml(to_toml(recipe)) == recipe
        plan = Plan(recipe, 1280).to_json(() if kind == "plateau" else (0, 2399))
        assert plan["schedule"] == kind
    with pytest.raises(InputError, match="leave --at out"):
        Plan(with_schedule("schedule.kind=plateau"), 1280).to_json((3,))


def test_results_lower_the_rate_of_every_course_and_are_put_back():
    kinds = (
        ["minibatch_size=16"],
        ["minibatch_size=64", "scaling.rule=adascale"],
        ["minibatch_size=64", "growth.kind=noise-scale", "growth.start=32"],
    )
    for changes in kinds:
        recipe = with_schedule(*changes, "schedule.kind=plateau", "schedule.patience=1", "warmup.kind=none")
        course = course_of(recipe, 1280)
        first = course.learning_rate
        for result in (5.0, 4.0, 4.0):
            course.end_epoch(result)
        again = course_of(recipe, 1280)
        again.restore(course.state())
        assert again.learning_rate == first
        again.end_epoch(4.5)
        assert again.learning_rate == pytest.approx(first / 10)


def test_a_result_within_the_warmup_does_not_count():
    recipe = with_schedule("minibatch_size=64", "schedule.kind=plateau", "schedule.patience=0")
    course = course_of(recipe, 1280)
    for _ in range(3):
        course.end_epoch(9.0)
    assert course.now.plateau.best is None
    course.end_epoch(9.0)
    course.end_epoch(9.0)
    assert course.now.plateau.reductions == 1
