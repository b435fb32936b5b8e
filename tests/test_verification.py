"""Right code passes. For every rule there is code that breaks it; it fails, and the rule is named."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from bigbatch.cli.commands.verify import choose_processes
from bigbatch.data.load import load_data
from bigbatch.errors import InputError
from bigbatch.recipe.file import to_toml, with_settings
from bigbatch.recipe.presets import digits
from bigbatch.rules.sampling import Sampling
from bigbatch.verification.checks import processes as processes_module
from bigbatch.verification.checks import shuffling
from bigbatch.verification.checks.coupling import check_coupling
from bigbatch.verification.checks.loop import check_loop
from bigbatch.verification.checks.momentum import check_optimizer_momentum
from bigbatch.verification.checks.normalisation import check_normalisation
from bigbatch.verification.checks.processes import Run, compare
from bigbatch.verification.checks.repeatability import check_repeatability
from bigbatch.verification.checks.shuffling import check_shuffling
from bigbatch.verification.checks.weight_decay import check_optimizer_decay, check_weight_decay
from bigbatch.verification.subject import build_subject
from bigbatch.verification.verify import check_computation, verify

TESTS = str(Path(__file__).parent)
SIZES = ("minibatch_size=64",)
OWN = (*SIZES, "model.name=broken_models:model", "data.name=broken_data:blobs")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def user_modules(monkeypatch):
    """Let this process and those it starts import the user's modules."""
    monkeypatch.syspath_prepend(TESTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])]))


def recipe(*settings):
    return with_settings(digits(), settings)


def subject(*settings):
    chosen = recipe(*settings)
    return build_subject(chosen, load_data(chosen.data), CPU)


def layer(name):
    return subject(*OWN, f"model.arguments.layer={name}")


def loss(name):
    return subject(*OWN, f"loss=broken_losses:{name}")


def optimizer(name, *settings):
    return recipe(f"optimizer.name=broken_optimizers:{name}", *settings).optimizer


def by_name(checks):
    return {check.name: check for check in checks}


def is_named(check, words):
    """Check that a rule was broken, and that the line names what breaks it."""
    assert not check.is_passed, check
    assert words in check.text
    assert "\n" not in check.text


@pytest.mark.parametrize(
    "settings",
    [
        SIZES,
        (*SIZES, "model.dropout=0.3", 'data.augmentation=["crop", "flip"]', "precision=bfloat16"),
        OWN,
        (*OWN, "loss=broken_losses:each_loss", "optimizer.name=broken_optimizers:adamw", "seed=3"),
        (*OWN, "model.arguments.layer=locked"),
        (*OWN, "optimizer.name=broken_optimizers:absorbing", "optimizer.momentum_correction=true"),
    ],
)
def test_what_is_right_passes_every_check(settings):
    checks = check_computation(subject(*settings), loop="broken_loops:right_loop")
    assert [check.text for check in checks if not check.is_passed] == []
    assert len(checks) == 9


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("loss=broken_losses:counted_loss", "by count"),
        ("loss=broken_losses:worker_loss", "by worker"),
        ("objective=broken_losses:counting_objective", "by count"),
        ("objective=broken_losses:detector_objective", "by samples"),
    ],
)
def test_each_normalisation_passes_every_check_and_is_named(name, kind):
    checks = check_computation(subject(*OWN, name))
    assert [check.text for check in checks if not check.is_passed] == []
    assert by_name(checks)["normalisation"].text.startswith(kind)


def test_a_loop_that_counts_is_right_and_one_that_averages_means_is_not():
    counted = loss("counted_loss")
    checks = check_loop(counted, "broken_loops:counting_loop")
    assert [check.text for check in checks if not check.is_passed] == []
    checks = by_name(check_loop(counted, "broken_loops:averaging_loop"))
    is_named(checks["loop: normalisation"], "each worker is divided by a count of its own")


FASTER = "optimizer.name=broken_optimizers:head_faster"


@pytest.mark.parametrize("name", ["right", "set_learning_rate"])
def test_a_loop_that_gives_all_groups_one_rate_is_named_if_they_have_rates_of_their_own(name):
    checks = by_name(check_loop(subject(*SIZES, FASTER), f"broken_loops:{name}_loop"))
    if name == "set_learning_rate":
        assert all(check.is_passed for check in checks.values()), checks
        assert checks["loop: rates of the groups"].text == "they keep their ratio 1 : 10"
    else:
        is_named(checks["loop: rates of the groups"], "the loop overwrites them: 0.05 : 0.05 where the ratio is 1 : 10")
    assert "loop: rates of the groups" not in by_name(check_loop(subject(*SIZES), f"broken_loops:{name}_loop"))


def test_a_norm_that_decays_against_the_recipe_is_named_and_the_list_can_be_seen():
    is_named(check_weight_decay(subject(*SIZES, "optimizer.name=broken_optimizers:norms_decay")), "leaves out decays: ")
    spared = check_weight_decay(subject(*SIZES, 'optimizer.no_weight_decay=["fc.weight"]'))
    assert spared.is_passed
    assert "fc.weight" in spared.text.partition("parameters decay, not ")[2]
    assert "10 of 29 parameters decay, not " in check_weight_decay(subject(*SIZES)).text
    everything = ("optimizer.weight_decay_on_norms=true", "optimizer.weight_decay_on_biases=true")
    assert "29 of 29 parameters decay, all" in check_weight_decay(subject(*SIZES, *everything)).text


@pytest.mark.parametrize("settings", [SIZES, (*SIZES, 'optimizer.weight_decay_on=["fc.bias"]')])
def test_an_optimizer_that_is_made_from_the_model_is_measured_on_it(settings):
    chosen = subject(*settings, "optimizer.name=broken_optimizers:by_depth")
    assert all(check.is_passed for check in check_computation(chosen))


def test_a_loop_that_draws_between_reading_and_stepping_is_named():
    is_named(by_name(check_loop(subject(*SIZES), "broken_loops:mixing_loop"))["loop: randomness"], "transform=")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("counts", "layer 'inner' (Counts) has hidden state"),
        ("caches", "layer 'inner' (Caches) has hidden state"),
        ("own-generator", "layer 'inner' (OwnGenerator), by a generator of its own, has hidden state"),
        ("module-generator", "layer 'inner' (ModuleGenerator) draws unseeded randomness"),
        ("unseeded", "layer 'inner' (Unseeded) draws unseeded randomness"),
        ("initialisation", "'inner.bias' is initialised otherwise when the model is built again: unseeded randomness"),
    ],
)
def test_hidden_state_and_unseeded_randomness_are_named_by_layer(name, words):
    is_named(check_repeatability(layer(name)), words)
    assert check_coupling(layer("counts")).is_passed, "hidden state alone couples no samples"


def test_what_cannot_be_told_from_random_outputs_is_not_named_wrongly():
    checks = by_name(check_computation(layer("unseeded")))
    is_named(checks["coupling"], "it cannot be told")
    is_named(checks["normalisation"], "it cannot be told")


def test_hidden_state_outside_any_layer_is_named():
    own = subject(*OWN, "model.name=broken_models:own_forward")
    is_named(check_repeatability(own), "the model's own forward (OwnForward) has hidden state")
    is_named(check_repeatability(loss("forgetful_loss")), "the loss")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("centres", "layer 'inner' (Centres)"),
        ("rolls", "layer 'inner' (Rolls)"),
        ("looks-ahead", "layer 'inner' (LooksAhead)"),
        ("attends", "layer 'inner.attention' (MultiheadAttention)"),
    ],
)
def test_coupled_samples_are_named_by_layer(name, words):
    is_named(check_coupling(layer(name)), f"{words} couples the samples")
    assert check_repeatability(layer(name)).is_passed


def test_a_loss_that_couples_samples_is_named():
    is_named(check_coupling(loss("contrastive_loss")), "the loss couples the samples")


def test_what_the_step_refuses_fails_with_its_line():
    (check,) = check_computation(layer("sync"))
    is_named(check, "the model's 'inner' is SyncBatchNorm")
    is_named(
        by_name(check_computation(layer("replaces")))["normalisation"],
        "buffer 'inner.average' differs between the workers",
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mean_loss", "the loss takes the mean over a worker's samples"),
        ("weighted_mean_loss", "the loss takes the mean over a worker's samples"),
        ("hidden_mean_loss", "the loss takes the mean over a worker's samples"),
        ("contrastive_loss", "the loss is no sum over its samples"),
        ("penalised_block_loss", "it couples them, or has a term that belongs to none"),
        ("mean_over_count_loss", "the loss takes the mean over a worker's samples"),
        ("sum_by_worker_loss", "the total is the sum over a worker's samples, but its weight is 1"),
        ("square_count_loss", "the weight is 256 over a batch of 16, but 16 over its samples"),
    ],
)
def test_a_loss_that_is_no_sum_fails_normalisation(name, words):
    is_named(by_name(check_computation(loss(name)))["normalisation"], words)


@pytest.mark.parametrize("name", ["mean_over_count_objective", "mean_detector_objective"])
def test_an_objective_that_counts_wrongly_fails_normalisation(name):
    """A detector's has losses in training mode alone."""
    checks = check_computation(subject(*SIZES, f"objective=broken_losses:{name}"))
    is_named(by_name(checks)["normalisation"], "the loss takes the mean over a worker's samples")


def test_a_wrong_gradient_fails_normalisation(monkeypatch):
    from bigbatch.verification.checks import normalisation

    right = normalisation.exact_gradient
    monkeypatch.setattr(normalisation, "exact_gradient", lambda *arguments: 1.001 * right(*arguments))
    is_named(check_normalisation(subject(*SIZES)), "relative difference 1.0e-03 over 4 workers of 16")


def test_weight_decay_in_the_loss_fails():
    is_named(check_weight_decay(loss("l2_loss")), "such as L2 of the weights")
    assert check_weight_decay(loss("each_loss")).is_passed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("fixed_decay", "decay does not scale with the rate: 1 times as much at twice the rate"),
        ("adam_with_l2", "decay depends on the loss's scale"),
        ("no_decay", "the optimizer does not decay by the recipe's lambda"),
        ("decays_all", "the optimizer decays biases and normalisations too"),
    ],
)
def test_an_optimizer_that_decays_wrongly_fails(name, words):
    is_named(check_optimizer_decay(optimizer(name)), words)


@pytest.mark.parametrize("settings", [(), ("optimizer.nesterov=false",), ("optimizer.weight_decay=0",)])
def test_torchs_optimizer_decays_and_keeps_momentum_rightly(settings):
    right = recipe(*settings).optimizer
    assert check_optimizer_decay(right).is_passed
    assert "(eq. 9)" in check_optimizer_momentum(right).text
    assert check_optimizer_momentum(right).is_passed


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adamw", "it scales with the rate and not with the loss: lambda is 0.0005"),
        ("lars", "layer-wise: lambda is 0.0005, and 0.0005 * w is added to the gradient, before the layer's own rate"),
        ("lamb", "layer-wise: lambda is 0.0005, and 0.0005 * w is added to Adam's direction, before the layer's"),
    ],
)
def test_the_named_optimizers_are_judged_by_what_holds_for_them(name, words):
    right = recipe(f"optimizer.name={name}").optimizer
    assert words in check_optimizer_decay(right).text
    assert check_optimizer_decay(right).is_passed
    assert check_optimizer_momentum(right).is_passed


def test_l2_in_adam_and_a_layerwise_optimizer_without_decay_fail():
    is_named(check_optimizer_decay(recipe("optimizer.name=adam").optimizer), "use adamw, whose decay does not")
    is_named(check_optimizer_decay(optimizer("lars_without_decay")), "is layer-wise, and does not decay by lambda")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("absorbing", "it absorbs the rate into its momentum (eq. 10), uncorrected"),
        ("anonymous", "it absorbs the rate into its momentum (eq. 10), uncorrected"),
        ("corrected", "it corrects momentum by the ratio of the rates"),
    ],
)
def test_an_optimizer_with_the_wrong_momentum_fails(name, words):
    is_named(check_optimizer_momentum(optimizer(name)), words)


@pytest.mark.parametrize("name", ["absorbing", "anonymous"])
def test_a_corrected_optimizer_has_the_right_momentum(name):
    check = check_optimizer_momentum(optimizer(name, "optimizer.momentum_correction=true"))
    assert check.is_passed, check
    assert "with the correction of the recipe" in check.text


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("summing", {"normalisation": "k = 4 times too large: the workers' means are summed"}),
        ("undivided", {"normalisation": "kn = 64 times too large"}),
        ("cancelling", {"weight decay": "0.25 of rate * lambda * w: k = 4 was cancelled"}),
        ("scaled_loss", {"weight decay": "steps at rate 1 when 0.05 was asked", "momentum": "absorbs the rate"}),
        ("correcting", {"momentum": "it corrects momentum by the ratio of the rates"}),
        ("absorbing", {"momentum": "it absorbs the rate into its momentum"}),
        ("own_optimizer", {"weight decay": "does not follow the weight_decay", "momentum": "it absorbs the rate"}),
        ("whole", {"normalisation": "another direction", "momentum": "cannot be told"}),
        (
            "idle",
            {"normalisation": "leaves the weights", "weight decay": "does not follow", "momentum": "cannot be told"},
        ),
    ],
)
def test_a_loop_is_named_by_the_rule_that_it_breaks(name, broken):
    checks = check_loop(subject(*SIZES), f"broken_loops:{name}_loop")
    assert {check.name for check in checks if not check.is_passed} == {f"loop: {rule}" for rule in broken}
    for rule, words in broken.items():
        is_named(by_name(checks)[f"loop: {rule}"], words)


def test_a_loop_that_sums_means_is_seen_also_where_the_optimizer_does_not_mind():
    adamw = subject(*SIZES, "optimizer.name=broken_optimizers:adamw")
    checks = by_name(check_loop(adamw, "broken_loops:summing_loop"))
    is_named(checks["loop: normalisation"], "k = 4 times too large")
    is_named(by_name(check_loop(adamw, "broken_loops:cancelling_loop"))["loop: normalisation"], "update is 0.25 times")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sharded", "the dataset depends on the rank: 49 samples on rank 0, 48 on rank 1"),
        ("shuffled_by_rank", "is another on rank 1"),
        ("shuffles_itself", "the dataset shuffles itself"),
    ],
)
def test_data_that_depends_on_the_rank_or_shuffles_itself_fails(name, words):
    chosen = recipe(*OWN, f"data.name=broken_data:{name}")
    is_named(check_shuffling(chosen, load_data(chosen.data), [1]), words)


def test_data_that_is_right_passes():
    chosen = recipe(*OWN, "minibatch_size=80")
    check = check_shuffling(chosen, load_data(chosen.data), [1, 2, 5])
    assert check.is_passed, check
    assert "80 of 96 samples once an epoch" in check.text


@pytest.mark.parametrize("data", ["blobs", "digits"])
def test_an_order_of_ones_own_must_not_depend_on_the_rank(data):
    name = "data.name=digits" if data == "digits" else f"data.name=broken_data:{data}"
    for order, words in (("order_by_rank", "depends on the rank"), ("order_by_epoch", None)):
        chosen = recipe(*OWN, name, f"data.order=broken_data:{order}")
        check = check_shuffling(chosen, load_data(chosen.data), [1, 2])
        if words:
            is_named(check, words)
        else:
            assert check.is_passed, check
            assert "an order of your own" in check.text


class Repeats(Sampling):
    """Forgets to shuffle anew, or to divide."""

    def epoch(self, epoch, workers, *, first=0):
        del epoch
        return super().epoch(0, workers, first=first)


class Overlaps(Sampling):
    """Gives every worker the first worker's samples."""

    def epoch(self, epoch, workers, *, first=0):
        return super().epoch(epoch, [0 for _ in workers], first=first)


class ByRank(Sampling):
    """Shuffles on every process for itself."""

    def epoch(self, epoch, workers, *, first=0):
        return super().epoch(epoch + 10 * workers.start, workers, first=first)


@pytest.mark.parametrize(
    ("kind", "words"),
    [(Repeats, "the order of the first"), (Overlaps, "visits only 24 samples in 96"), (ByRank, "p = 2 are others")],
)
def test_an_order_that_is_no_single_shuffle_fails(kind, words):
    assert words in shuffling.wrong_order(kind(100, 32, 8), [1, 2, 4])
    assert shuffling.wrong_order(Sampling(100, 32, 8), [1, 2, 4]) is None


def test_runs_are_compared_to_the_bit():
    right = Run(1, (2.0, 1.0), "a")
    assert compare([right, right, Run(2, (2.0, 1.0), "a")]).is_passed
    is_named(compare([right, Run(1, (2.0, 1.5), "b")]), "two runs with p = 1 differ, so unseeded randomness enters")
    is_named(compare([right, right, Run(2, (2.0, 1.5), "b")]), "p = 2 differs from p = 1: the loss of iteration 1")
    is_named(compare([right, right, Run(2, (2.0, 1.0), "b")]), "weights a and b, with the same losses")
    is_named(compare([right, right, Run(2, (2.0,), "a")]), "2 iterations and 1")


def test_a_run_that_is_refused_is_a_failed_check(monkeypatch):
    line = "bigbatch: error: the loss is no sum over its samples"
    command = f"import sys; sys.exit(print({line!r}, file=sys.stderr) or 2)"
    monkeypatch.setattr(processes_module, "TRAIN", (sys.executable, "-c", command))
    is_named(
        processes_module.check_processes(digits(), [1], iterations=1), "p = 1: the loss is no sum over its samples"
    )


def test_data_with_unseeded_randomness_is_named():
    (check,) = verify(recipe(*OWN, "data.name=broken_data:noisy"), CPU, processes=[1], iterations=1)
    is_named(check, "a sample of the data differs when it is read again")


@pytest.mark.parametrize(
    ("settings", "loop", "message"),
    [
        (SIZES, "broken_loops:no_loop", "has no callable 'no_loop'"),
        (SIZES, "a:loop:b", "not of the form package.module:callable"),
        (SIZES, "no_module:loop", "there is no module 'no_module'"),
        (("data.name=broken_data:nothing",), None, "has no callable 'nothing'"),
        (("minibatch_size=4096",), None, "larger than the data set of 1280 samples"),
    ],
)
def test_bad_input_is_refused(settings, loop, message):
    with pytest.raises(InputError, match=message):
        verify(recipe(*settings), CPU, processes=[1], iterations=1, loop=loop)
    with pytest.raises(InputError, match="does not take these arguments"):
        check_loop(subject(*SIZES), "broken_loops:short_loop")


def refused(done, message):
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_the_command_refuses_what_cannot_be(bigbatch):
    verify_digits = ("verify", "digits", *("--minibatch-size", 64))
    refused(bigbatch(*verify_digits, "--processes", "1,8"), "8 processes are more than the 4 workers")
    refused(bigbatch(*verify_digits, "--processes", ""), "must be a whole number from 1 to 65536, not ''")
    refused(bigbatch(*verify_digits, RANK="0", WORLD_SIZE="2"), "run it outside torchrun and srun")


def test_by_default_one_two_and_four_processes_as_far_as_there_are_workers():
    assert [choose_processes(None, k) for k in (1, 2, 3, 16)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4]]
    assert choose_processes((4, 1, 4), 16) == [4, 1]


def test_the_command_passes_a_preset(bigbatch):
    done = bigbatch("verify", "digits", "--minibatch-size", 64, "--processes", "1,2", "--iterations", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "p = 1, 1, 2: 2 iterations, every loss and the weights" in done.stdout
    assert done.stdout.endswith("all 7 checks passed\n")


def test_the_command_names_what_is_broken(bigbatch, tmp_path):
    (tmp_path / "mine.toml").write_text(to_toml(recipe(*OWN, "model.arguments.layer=unseeded")))
    options = ("--processes", "1", "--iterations", 2, "--loop", "broken_loops:summing_loop", "--json")
    done = bigbatch("verify", "mine.toml", *options)
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    broken = {check["name"]: check["text"] for check in result["checks"] if check["status"] == "fail"}
    assert not result["passed"]
    assert "two runs with p = 1 differ, so unseeded randomness enters" in broken["same bits"]
    assert "layer 'inner' (Unseeded)" in broken["repeatability"]
