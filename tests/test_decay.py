"""What decays is told by what a parameter is, by the model, or by the recipe's patterns."""

import json

import pytest
import torch
from torch import nn

from bigbatch.cli import main
from bigbatch.errors import InputError
from bigbatch.optim.build import build_optimizer
from bigbatch.optim.decay import parts_of
from bigbatch.optim.groups import weight_decay_groups
from bigbatch.recipe import Optimizer
from bigbatch.recipe.file import from_toml, to_toml, with_settings
from bigbatch.recipe.presets import digits

ONES = torch.ones


class RMSNorm(nn.Module):
    """As Llama's: no class of torch."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(ONES(width))


class ChannelsFirstNorm(nn.Module):
    """As ConvNeXt's."""

    def __init__(self, width):
        super().__init__()
        self.weight, self.bias = nn.Parameter(ONES(width)), nn.Parameter(ONES(width))


class LayerScale(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.gamma = nn.Parameter(1e-6 * ONES(*shape))


class Transformer(nn.Module):
    """What models of today have beside matrices."""

    def __init__(self, width=8):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = RMSNorm(width), ChannelsFirstNorm(width), nn.LayerNorm(width)
        self.scale1, self.scale2 = LayerScale(width), LayerScale(width, 1, 1)
        self.mlp, self.conv, self.one = nn.Linear(width, width), nn.Conv2d(3, width, 3), nn.Linear(width, 1)
        self.embedding, self.activation = nn.Embedding(10, width), nn.PReLU(width)
        self.logit_scale, self.temperature = nn.Parameter(torch.tensor(2.6)), nn.Parameter(ONES(1))
        self.cls_token, self.pos_embed = nn.Parameter(ONES(1, 1, width)), nn.Parameter(ONES(1, 5, width))
        self.relative_position_bias_table = nn.Parameter(ONES(9, 2))
        self.queries, self.temperature_bias = nn.Parameter(ONES(1, 4, width)), nn.Parameter(ONES(3))
        self.lora_a = nn.Parameter(ONES(2, width))


WEIGHTS = {"mlp.weight", "conv.weight", "one.weight", "embedding.weight", "lora_a"}
BIASES = {"mlp.bias", "conv.bias", "one.bias", "temperature_bias"}
TOKENS = {"cls_token", "pos_embed", "relative_position_bias_table", "queries"}


def decaying(model, **options):
    parts = parts_of(model, Optimizer("adamw", weight_decay=0.05, **options))
    assert {part.name for part in parts} == {name for name, _ in model.named_parameters()}
    return {part.name for part in parts if part.decays}


def test_weights_decay_and_nothing_else_unless_the_recipe_says_so():
    model = Transformer()
    everything = {name for name, _ in model.named_parameters()}
    assert decaying(model) == WEIGHTS
    assert decaying(model, weight_decay_on_biases=True) == WEIGHTS | BIASES
    assert decaying(model, weight_decay_on_norms=True) == everything - BIASES - TOKENS


def test_patterns_decide_before_all_else():
    model = Transformer()
    assert decaying(model, no_weight_decay=("embedding.*", "lora_?")) == WEIGHTS - {"embedding.weight", "lora_a"}
    assert decaying(model, weight_decay_on=("*.gamma", "pos_embed")) == WEIGHTS | {
        *("scale1.gamma", "scale2.gamma", "pos_embed")
    }
    with pytest.raises(InputError, match=r"optimizer.no_weight_decay: no trained parameter .* matches '\*.gama'"):
        decaying(model, no_weight_decay=("*.gama",))
    with pytest.raises(InputError, match=r"both match 'mlp.weight'"):
        decaying(model, no_weight_decay=("mlp.*",), weight_decay_on=("*.weight",))


class Spares(nn.Module):
    """Says itself what does not decay, as timm's models do."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(ONES(4, 4)), nn.Linear(4, 4)

    def no_weight_decay(self):
        return {"table", "dist_token"}


def test_a_models_own_word_is_honoured_also_within_another_and_when_it_is_compiled():
    assert decaying(Spares()) == {"head.weight"}
    assert decaying(nn.Sequential(Spares(), nn.Linear(4, 4))) == {"0.head.weight", "1.weight"}
    assert decaying(Spares(), weight_decay_on=("table",)) == {"head.weight", "table"}
    compiled = nn.Module()
    compiled._orig_mod = Spares()  # what torch.compile makes of it
    parts = parts_of(compiled, Optimizer("adamw", no_weight_decay=("head.weight",)))
    assert {part.name: part.decays for part in parts} == dict.fromkeys(("table", "head.weight", "head.bias"), False)


def test_parametrised_weights_are_told_by_the_tensor_that_they_make():
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    assert decaying(linear) == {"parametrizations.weight.original0", "parametrizations.weight.original1"}


def test_a_frozen_parameter_is_in_no_group():
    model = nn.Linear(4, 4)
    model.weight.requires_grad_(requires_grad=False)
    assert [part.name for part in parts_of(model, Optimizer())] == ["bias"]


OWN = 'name = "broken_optimizers:adamw"'
TABLE = to_toml(digits()).partition("[optimizer]")[0] + "[optimizer]\n"


def test_a_default_that_nobody_wrote_does_not_exist():
    own = from_toml(f"{TABLE}{OWN}\n")
    assert own.optimizer.decay is None
    assert weight_decay_groups(nn.Linear(2, 2), own.optimizer)[0].keys() == {"params"}
    assert build_optimizer(own.optimizer, nn.Linear(2, 2), 0.1).defaults["weight_decay"] == 1e-2  # torch's own
    assert from_toml(to_toml(own)) == own
    assert "weight_decay" not in own.to_dict()["optimizer"]
    written = from_toml(f"{TABLE}{OWN}\nweight_decay = 0.05\n")
    groups = weight_decay_groups(nn.Linear(2, 2), written.optimizer)
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]


def test_that_of_a_named_optimizer_does_not_pass_on_to_ones_own():
    named = from_toml(f'{TABLE}name = "sgd"\n')
    assert (named.optimizer.decay, named.to_dict()["optimizer"]["weight_decay"]) == (1e-4, 1e-4)
    assert with_settings(named, ["optimizer.name=broken_optimizers:adamw"]).optimizer.decay is None
    assert with_settings(digits(), ["optimizer.name=broken_optimizers:adamw"]).optimizer.decay == 5e-4  # it was written


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("weight_decay_on_norms = true", "optimizer.weight_decay_on_norms needs a decay to divide"),
        ('no_weight_decay = ["*.gamma"]', "optimizer.no_weight_decay needs a decay to divide"),
        ("weight_decay = -1", "optimizer.weight_decay must be a number of at least 0"),
        ('weight_decay = "x"', "optimizer.weight_decay must be a number, not 'x'"),
        ("clip_norm = -1", "optimizer.clip_norm must be a number of at least 0"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(setting, message):
    with pytest.raises(InputError, match=message):
        from_toml(f"{TABLE}{OWN}\n{setting}\n")


def test_a_timescale_needs_a_decay():
    with pytest.raises(InputError, match=r"'timescale' needs a decay to scale: set optimizer.weight_decay"):
        with_settings(from_toml(f"{TABLE}{OWN}\n"), ["scaling.weight_decay=timescale"])


MODEL = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))
        self.gamma, self.head = nn.Parameter(torch.ones(64)), nn.Linear(64, 10)
    def forward(self, x):
        x = x.flatten(1)
        for block in self.blocks:
            x = x + self.gamma * block(x).relu()
        return self.head(x)
def broken():
    raise OSError("no such file: weights")
"""


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Return a function that plans digits with a model of one's own, and returns what it prints."""
    (tmp_path / "own_net.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*options):
        main(["plan", "digits", *options])
        return capsys.readouterr()

    return run


def test_the_plan_lists_the_parameter_groups_of_ones_own_model(plan):
    own = ("--set", "model.name=own_net:Net")
    decays, rest = json.loads(plan(*own, "--json").out)["parameter_groups"]
    assert (decays["weight_decay"], decays["names"]) == (5e-4, ["blocks.*.weight (3)", "head.weight"])
    assert (rest["weight_decay"], rest["names"]) == (0.0, ["gamma", "blocks.*.bias (3)", "head.bias"])
    assert "blocks" in plan(*own).out
    cannot = plan("--set", "model.name=own_net:broken")
    assert "warning: no list of what decays: no such file: weights" in cannot.err
    assert "parameter groups" not in plan().out
    assert "fc.weight" in plan("--parameters").out
