"""How the optimizer's settings follow the minibatch size."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigbatch.errors import InputError
from bigbatch.planning.plan import Plan
from bigbatch.recipe import Optimizer, Scaling
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.recipe.scaled_optimizer import scale_optimizer
from bigbatch.rules.adascale import ADASCALE
from bigbatch.rules.optimizer_scaling import (
    largest_minibatch_size,
    scale_average_decay,
    square_root_beta,
    square_root_epsilon,
    timescale_weight_decay,
)
from bigbatch.rules.scaling import SCALING_RULES

KAPPAS = st.integers(1, 64)


def recipe(*settings):
    return with_settings(digits(), settings)


ADAMW = ("optimizer.name=adamw", "scaling.rule=square-root", "optimizer.weight_decay=0.01")


@given(KAPPAS, st.floats(0.99, 0.9999))
def test_square_root_rule_keeps_what_adams_averages_span_in_samples(kappa, beta):
    """ArXiv 2205.10287, definition 4.3."""
    scaled = square_root_beta(beta, minibatch_size=256 * kappa, reference=256)
    assert kappa * (1 - beta) == pytest.approx(1 - scaled, rel=1e-9)
    assert square_root_epsilon(1e-8, minibatch_size=256 * kappa, reference=256) == pytest.approx(
        1e-8 / math.sqrt(kappa)
    )


@given(st.integers(1, 1000), st.floats(0, 0.9999))
def test_the_named_largest_size_is_the_largest(reference, beta):
    largest = largest_minibatch_size(beta, reference=reference)
    assert 0 <= square_root_beta(beta, minibatch_size=largest, reference=reference) < 1
    if largest > reference:
        assert square_root_beta(beta, minibatch_size=largest, reference=reference) > 0
    with pytest.raises(InputError, match=f"a minibatch size of at most {largest}, not {largest + 1}:"):
        square_root_beta(beta, minibatch_size=largest + 1, reference=reference)


@given(KAPPAS, st.sampled_from(sorted(SCALING_RULES.keys() - {ADASCALE})))
def test_timescale_keeps_rate_times_decay_per_sample(kappa, rule):
    """ArXiv 2405.13698: tau = kn / (rate * lambda * samples)."""
    large = recipe(
        "optimizer.name=adamw",
        "optimizer.betas=[0.99, 0.999]",
        f"scaling.rule={rule}",
        "scaling.weight_decay=timescale",
        f"minibatch_size={16 * kappa}",
    )
    tau = [
        size / (rate * decay)
        for size, rate, decay in (
            (16, large.reference.learning_rate, large.optimizer.weight_decay),
            (large.minibatch_size, large.base_learning_rate, large.scaled_optimizer.weight_decay),
        )
    ]
    assert tau[0] == pytest.approx(tau[1])
    if rule == "linear":
        assert large.scaled_optimizer == large.optimizer


def test_an_average_spans_as_many_samples():
    assert scale_average_decay(0.99, minibatch_size=64, reference=16) == pytest.approx(0.99**4)
    assert scale_average_decay(0.0, minibatch_size=64, reference=16) == 0.0
    assert recipe("average.decay=0.99", "minibatch_size=32").average_decay(32) == pytest.approx(0.9801)


def test_at_the_reference_nothing_changes_to_the_bit():
    for optimizer in (Optimizer("adamw", betas=(0.1, 0.7)), Optimizer("lamb", epsilon=1e-7), Optimizer()):
        keep = scale_optimizer(optimizer, Scaling("square-root"), minibatch_size=3, reference=3)
        assert keep == optimizer
    assert scale_average_decay(0.9, minibatch_size=3, reference=3) == 0.9
    assert timescale_weight_decay(0.1, minibatch_size=3, reference=3, rate_ratio=1.0) == 0.1


def test_only_adam_and_its_like_are_scaled_by_the_square_root_rule():
    for name in ("adam", "adamw"):
        scaled = recipe("minibatch_size=64", "scaling.rule=square-root", f"optimizer.name={name}").scaled_optimizer
        assert (scaled.betas, scaled.epsilon) == ((0.6, 0.996), 5e-9)
    for name in ("sgd", "lars", "lamb", "my.module:own"):
        large = recipe("minibatch_size=64", "scaling.rule=square-root", f"optimizer.name={name}")
        assert large.scaled_optimizer == large.optimizer
        assert large.base_learning_rate == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optimizer.betas=[0.9, 1.0]", "optimizer.name=adam"], "optimizer.betas[1] must be a number of at least 0"),
        (["optimizer.betas=[nan, 0.9]", "optimizer.name=adam"], "optimizer.betas[0] must be a number of at least 0"),
        (["optimizer.betas=[0.9]", "optimizer.name=adam"], "optimizer.betas must be a list of 2, not [0.9]"),
        (["optimizer.betas=0.9", "optimizer.name=adam"], "optimizer.betas must be a list, not 0.9"),
        (["optimizer.betas=['a', 0.9]", "optimizer.name=adam"], "optimizer.betas[0] must be a number, not 'a'"),
        (["optimizer.epsilon=0", "optimizer.name=lamb"], "optimizer.epsilon must be a number above 0, not 0.0"),
        (["optimizer.trust=inf", "optimizer.name=lars"], "optimizer.trust must be a number above 0, not inf"),
        (["optimizer.betas=[0.8, 0.9]"], "optimizer.betas is of adam, adamw, lamb; 'sgd' takes none"),
        (["optimizer.trust=0.1", "optimizer.name=a:b"], "optimizer.trust is of lars; 'a:b' takes none"),
        (["optimizer.momentum=0.8", "optimizer.name=adam"], "for 'adam' set optimizer.betas"),
        (["optimizer.name=lar"], "unknown optimizer 'lar'; did you mean 'lars'?"),
        (["average.decay=1"], "average.decay must be a number of at least 0 and below 1, not 1.0"),
        (["scaling.weight_decay=kept"], "scaling.weight_decay 'kept' is unknown; did you mean 'keep'?"),
        ([*ADAMW, "minibatch_size=160"], "beta = 0.9 a minibatch size of at most 159, not 160"),
        (["optimizer.name=lamb", "scaling.weight_decay=timescale"], "'timescale' is for sgd, adamw, not 'lamb'"),
        (["optimizer.weight_decay=1e308", *ADAMW[:2], "scaling.weight_decay=timescale", "minibatch_size=144",
          "scaling.rule=none"], "the weight decay becomes infinite"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_way_out(settings, message):
    with pytest.raises(InputError) as error:
        recipe(*settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_new_fields_go_through_toml():
    changed = recipe(*ADAMW, "optimizer.betas=[0, 0.99]", "optimizer.epsilon=1e-6", "average.decay=0.5")
    assert changed.optimizer.betas == (0.0, 0.99)
    assert from_toml(to_toml(changed)) == changed


def rows_of(*settings):
    return {row.name: row for row in Plan(recipe("minibatch_size=64", *settings), 1280).rows()}


def test_a_plan_explains_what_applies_and_nothing_else():
    rows = rows_of(*ADAMW, "scaling.weight_decay=timescale", "average.decay=0.9")
    assert (rows["betas"].before, rows["betas"].after) == ("0.9, 0.999", "0.6, 0.996")
    assert (rows["epsilon"].before, rows["epsilon"].after) == ("1e-08", "5e-09")
    assert (rows["weight_decay"].before, rows["weight_decay"].after) == ("0.01", "0.02")
    assert (rows["average_decay"].before, rows["average_decay"].after) == ("0.9", "0.6561")
    sources = ("2205.10287", "2205.10287", "2405.13698", "2307.13813")
    for name, source in zip(("betas", "epsilon", "weight_decay", "average_decay"), sources, strict=True):
        assert source in rows[name].rule
    assert "2205.10287" in rows["base_learning_rate"].rule
    assert not rows.keys() & {"momentum", "nesterov", "trust"}
    assert not rows_of().keys() & {"optimizer", "betas", "epsilon", "trust", "average_decay"}
    assert {"optimizer", "trust", "momentum"} <= rows_of("optimizer.name=lars").keys()
    table = Plan(recipe(*ADAMW, "minibatch_size=64", "average.decay=0.9"), 1280).to_json()
    assert (table["optimizer"], table["betas"], table["weight_decay_rule"]) == ("adamw", [0.6, 0.996], "keep")
    assert "momentum" not in table
