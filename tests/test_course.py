"""The course of a training: minibatch size, rate and end."""

import json
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.recipe.course import AdaScaleCourse, FixedCourse, GrowingCourse, course_of, largest_size
from bigbatch.recipe.file import with_settings
from bigbatch.recipe.presets import digits
from bigbatch.rules.adascale import ADASCALE as ADASCALE_RULE
from bigbatch.rules.gradient_noise import GradientNoise
from bigbatch.rules.scaling import SCALING_RULES

N = 1280  # samples of the digits


def course_with(*settings):
    return course_of(with_settings(digits(), list(settings)), N)


def follow(course, noise=None):
    """Go to the end; return (epoch, size, rate) of every update."""
    updates = []
    while not course.is_over:
        while not course.is_epoch_over:
            course.observe(noise)
            updates.append((course.now.epoch, course.now.minibatch_size, course.learning_rate))
            course.advance()
        course.end_epoch()
    return updates


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([16, 48, 256, 1280]),
    st.sampled_from(["cosine", "step", "constant"]),
    st.sampled_from(["gradual", "none"]),
)
def test_with_one_size_the_rate_is_the_schedules_and_the_end_after_the_last_epoch(size, schedule, warmup):
    changes = f"minibatch_size={size}", f"schedule.kind={schedule}", f"warmup.kind={warmup}", "epochs=7"
    course = course_with(*changes)
    per_epoch = N // size
    rate = course.recipe.learning_rate(per_epoch)
    assert course.total_iterations == 7 * per_epoch
    assert follow(course) == [(i // per_epoch, size, rate(i)) for i in range(7 * per_epoch)]


ADASCALE = ("scaling.rule=adascale", "minibatch_size=256", "epochs=4")


def test_adascale_ends_when_it_has_come_as_far_as_the_reference():
    """All noise: 16 steps of the reference each, at 16 times its rate. All signal: as many updates as the reference."""
    for noise, times in ((GradientNoise(0.0, 1.0), 16), (GradientNoise(1.0, 0.0), 1)):
        updates = follow(course_with(*ADASCALE), noise)
        reference = course_with("epochs=4").recipe.learning_rate(80)
        assert len(updates) == 320 / times
        assert [rate for *_, rate in updates] == [times * reference(times * i) for i in range(len(updates))]


def test_adascale_in_between():
    """Noise and signal even at 256 samples: sigma^2 = 16, mu^2 = 1, S = 16, hence r = 17 / 2."""
    course = course_with(*ADASCALE)
    updates = follow(course, GradientNoise(1.0, 256.0))
    assert course.now.gain == pytest.approx(8.5)
    assert len(updates) == 38  # the first that times 8.5 is at least 320
    assert course.now.epoch == 8  # of 5 updates, the last cut short
    assert course.is_over


def test_adascale_keeps_its_rate_where_nothing_was_learnt_from_an_update():
    course = course_with(*ADASCALE)
    course.observe(GradientNoise(1.0, 256.0))
    before = course.learning_rate
    course.observe(None)
    assert course.learning_rate == before == pytest.approx(8.5 * 0.05)


def test_growing_by_the_schedule_keeps_the_rate_and_makes_the_minibatch_larger():
    """Where the step schedule divides the rate by 10, the minibatch grows 8 times and the rate falls by 0.8."""
    course = course_with("growth.kind=schedule", "growth.start=32", "minibatch_size=1024", "warmup.kind=none")
    updates = follow(course)
    sizes = {epoch: size for epoch, size, _ in updates}
    assert [sizes[epoch] for epoch in (0, 14, 15, 24, 25, 29)] == [32, 32, 256, 256, 1024, 1024]
    assert {round(rate, 10) for epoch, _, rate in updates if epoch < 15} == {0.1}
    assert {round(rate, 10) for epoch, _, rate in updates if 15 <= epoch < 25} == {0.08}
    assert {round(rate, 10) for epoch, _, rate in updates if epoch >= 25} == {0.032}
    for epoch, size, rate in updates:  # the rate over the minibatch size is that of the schedule, whatever the size
        assert rate / size == pytest.approx(0.05 / 16 * 0.1 ** ((epoch >= 15) + (epoch >= 25)))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([(0.5, 2), (0.25, 4), (0.2, 5), (0.1, 10)]),
    st.integers(1, 100).map(lambda workers: 16 * workers),
    st.floats(1e-4, 2.0),
)
def test_a_tenth_of_the_rate_is_ten_times_the_minibatch_whatever_it_rounds_to(divided, start, rate):
    """If the factor and the growth are the same, the rate never falls: only the minibatch grows."""
    factor, times = divided
    changes = [
        *("growth.kind=schedule", f"growth.start={start}", f"minibatch_size={times * start}", "warmup.kind=none"),
        *(f"schedule.factor={factor}", "schedule.milestones=[10]", f"reference.learning_rate={rate!r}"),
    ]
    course = course_of(with_settings(digits(), changes), 100 * start)
    course.now.epoch = 9
    before = course.learning_rate
    course.end_epoch()
    assert course.now.minibatch_size == times * start
    assert course.learning_rate == pytest.approx(before)


@pytest.mark.parametrize("rule", sorted(SCALING_RULES.keys() - {ADASCALE_RULE}))
def test_the_minibatch_grows_instead_of_the_rate_under_every_fixed_rule(rule):
    """The rate over the minibatch size follows the schedule, so the rate stays at that of the first size."""
    halved = ("schedule.factor=0.5", "schedule.milestones=[10,20]", "warmup.kind=none")
    course = course_with(
        "growth.kind=schedule", "growth.start=32", "minibatch_size=128", f"scaling.rule={rule}", *halved
    )
    updates = follow(course, None)
    assert [size for size, _ in groupby(size for _, size, _ in updates)] == [32, 64, 128]
    assert {rate for _, _, rate in updates} == {with_settings(digits(), [f"scaling.rule={rule}"]).scaled_rate(32)}


def test_an_update_that_is_left_out_is_worth_nothing_and_the_training_ends_all_the_same():
    """It ends at the latest after as many iterations as the reference, as each is worth at least one."""
    course, noise = course_with(*ADASCALE), GradientNoise(1.0, 100.0)
    course.observe(noise)
    course.advance()
    steps = course.now.steps
    course.observe(noise)
    course.advance(is_taken=False)
    assert course.now.steps == steps == course.now.gain > 1
    while not course.is_over:
        if course.is_epoch_over:
            course.end_epoch()
        else:
            course.advance(is_taken=False)
    assert course.now.steps == steps
    assert course.now.iteration == course.schedule.total_iterations


def test_an_average_of_the_weights_spans_what_updates_are_worth():
    """With AdaScale it spans as many iterations of the reference at any gain; otherwise as many samples."""
    course = course_with(*ADASCALE, "average.decay=0.99")
    kept, noise = 1.0, GradientNoise(1.0, 100.0)
    for _ in range(20):
        course.observe(noise)
        kept *= course.average_decay
        course.advance()
    assert 1 < course.now.gain < 16
    assert kept == pytest.approx(0.99**course.now.steps)
    assert course_with("minibatch_size=32", "average.decay=0.99").average_decay == pytest.approx(0.99**2)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 5_000), min_size=30, max_size=30))
def test_growing_with_the_noise_scale_never_shrinks_and_stays_within_it(scales):
    course = course_with("growth.kind=noise-scale", "growth.start=32", "minibatch_size=512")
    sizes = []
    for scale in scales:
        while not course.is_epoch_over:
            course.observe(GradientNoise(1.0, scale))
            course.advance()
        sizes.append(course.now.minibatch_size)
        course.end_epoch()
        average = course.now.noise.average
        assert course.now.minibatch_size <= max(sizes[-1], average.scale)
    assert sizes == sorted(sizes)
    assert set(sizes[:3]) == {32}, "not within the warmup"
    assert course.is_over


KINDS = {
    "fixed": (FixedCourse, ("minibatch_size=256", "epochs=12", "average.decay=0.99")),
    "adascale": (AdaScaleCourse, ADASCALE),
    "by schedule": (GrowingCourse, ("growth.kind=schedule", "minibatch_size=256", "schedule.kind=cosine")),
    "by noise": (GrowingCourse, ("growth.kind=noise-scale", "growth.start=32", "minibatch_size=256", "epochs=9")),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def answers(course):
    """The values that a trainer reads before an update."""
    names = ("learning_rate", "average_decay", "measures_noise", "iterations_per_epoch", "is_epoch_over", "is_over")
    told = {name: getattr(course, name) for name in (*names, "total_iterations", "total_epochs")}
    return told | course.update_values() | course.epoch_values()


def test_a_recipe_gets_the_course_that_it_asks_for(kind):
    assert type(course_with(*kind[1])) is kind[0]


def test_put_back_anywhere_it_goes_on_identically(kind):
    """The state after any update, through JSON, holds all that the rest of the training depends on."""
    whole, noise = course_with(*kind[1]), GradientNoise(1.0, 100.0)
    updates = follow(whole, noise)
    for stop in (0, 1, 7, len(updates) // 2, len(updates) - 1):
        part = course_with(*kind[1])
        for _ in range(stop):
            part.observe(noise)
            part.advance()
            if part.is_epoch_over:
                part.end_epoch()
        again = course_with(*kind[1])
        again.restore(json.loads(json.dumps(part.state())))
        assert again.state() == part.state()
        assert answers(again) == answers(part)
        assert follow(again, noise) == updates[stop:]


def test_it_is_over_once_and_after_the_last_update(kind):
    """`is_over` becomes true at the end of the last epoch, and nowhere else; `total_iterations` is true by then."""
    course, noise = course_with(*kind[1]), GradientNoise(1.0, 100.0)
    seen, epochs = [], 0
    while not course.is_over:
        while not course.is_epoch_over:
            course.observe(noise)
            course.advance()
            seen.append(course.is_over)
        course.end_epoch()
        seen.append(course.is_over)
        epochs += 1
    assert seen.count(True) == 1
    assert seen[-1]
    assert (course.total_iterations, course.total_epochs) == (course.now.iteration, epochs)


def test_a_checkpoint_holds_the_same_plain_values_for_every_kind(kind):
    state = course_with(*kind[1]).state()
    assert list(state) == [
        *("minibatch_size", "epoch", "epoch_iteration", "iteration", "samples_consumed", "steps", "gain"),
        *("noise", "plateau"),
    ]
    assert state["noise"] == {"square": 0.0, "variance": 0.0, "weight": 0.0}


@pytest.mark.parametrize("values", [{"epoch": 2, "epoch_iteration": 3, "iteration": 13, "samples_consumed": 3328}])
def test_the_state_of_an_older_checkpoint_is_put_back(kind, values):
    """Fields with a default may be missing."""
    course = course_with(*kind[1])
    course.restore({"minibatch_size": 256, "noise": {"square": 1.0, "variance": 9.0, "weight": 0.5}, **values})
    assert (course.now.iteration, course.now.epoch_iteration, course.now.steps) == (13, 3, 0.0)


def test_noise_is_measured_in_every_eighth_update_or_in_each(kind):
    course, measured = course_with(*kind[1]), []
    for _ in range(10):
        measured.append(course.measures_noise)
        course.advance()
    assert measured == ([True] * 10 if kind[0] is AdaScaleCourse else [i % 8 == 0 for i in range(10)])


def test_the_largest_size_is_known_unless_the_gradients_decide_it():
    assert largest_size(with_settings(digits(), ["minibatch_size=256"])) == 256
    assert largest_size(with_settings(digits(), ADASCALE)) == 256
    assert largest_size(with_settings(digits(), KINDS["by schedule"][1])) == 256
    assert largest_size(with_settings(digits(), KINDS["by noise"][1])) is None


def test_what_is_said_before_the_first_update():
    said = course_with("minibatch_size=256", "average.decay=0.99").introduce()
    assert (said.minibatch, said.rate) == ("minibatch 256 = 16 workers of 16", "rate 0.05 -> 0.8 (linear)")
    assert said.average_decay == "0.851458"
    said = course_with(*ADASCALE, "average.decay=0.99").introduce()
    assert (said.rate, said.average_decay) == ("rate 0.05 x gain, 1 to 16 (adascale)", "0.99^gain")
    said = course_with(*KINDS["by schedule"][1]).introduce()
    assert said.minibatch == "minibatch 16 = 1 workers of 16, growing to 256"


def test_what_an_epoch_drops_is_a_number_only_if_it_stays_the_same():
    assert course_with("minibatch_size=96").dropped_per_epoch == 1280 % 96
    assert course_with("minibatch_size=96", "scaling.rule=adascale").dropped_per_epoch == 1280 % 96
    assert course_with("minibatch_size=96", "growth.kind=schedule").dropped_per_epoch == 0


@pytest.mark.parametrize("damage", [{"speed": 1}, {"noise": None}, {"noise": {"level": 1.0}}, {"minibatch_size": 17}])
def test_a_place_that_is_none_is_refused(damage):
    course = course_with()
    with pytest.raises(InputError, match=r"put a whole one back|17 is not divisible"):
        course.restore(course.state() | damage)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("scaling.rule=adascale", "minibatch_size=16"), "at least 2 of them, 32 samples"),
        (("scaling.rule=adascale", "minibatch_size=32", "reference.minibatch_size=64"), "at least the reference's 64"),
        (("scaling.rule=adascale", "growth.kind=schedule", "minibatch_size=64"), "exclude each other"),
        (("scaling.rule=adascale", "minibatch_size=64", "optimizer.name=lars"), "is a rule for SGD"),
        (("scaling.rule=adascale", "minibatch_size=64", "scaling.weight_decay=timescale"), "weight_decay=keep"),
        (("growth.kind=schedule", "minibatch_size=64", "scaling.weight_decay=timescale"), "changes the rate alone"),
        (("growth.kind=noise-scale", "minibatch_size=64"), "at least 2 of them, 32 samples"),
        (("growth.kind=schedule", "growth.start=128", "minibatch_size=64"), "larger than minibatch_size 64"),
        (("growth.kind=schedule", "growth.start=24", "minibatch_size=64"), "24 is not divisible"),
        (("growth.kind=noise", "minibatch_size=64"), "growth.kind 'noise' is unknown"),
        (("growth.kind=noise-scale", "growth.start=32", "minibatch_size=64", "growth.noise_fraction=0"), "above 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        course_with(*changes)
