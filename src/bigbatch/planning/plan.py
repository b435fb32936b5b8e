"""The plan of a training: every derived hyper-parameter, before and after scaling, with its rule and source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from bigbatch.models.names import is_of_library
from bigbatch.planning.forecast import forecast, rate_at
from bigbatch.planning.kept import kept_rules, kept_values
from bigbatch.planning.optimizer import optimizer_rules, optimizer_values, rate_source
from bigbatch.recipe import Growth, Recipe
from bigbatch.recipe.course import course_of
from bigbatch.recipe.idle import FIXED_RULES
from bigbatch.recipe.numerics import PORTABLE
from bigbatch.recipe.sections.schedule import PLATEAU
from bigbatch.recipe.warnings import warnings_of
from bigbatch.rules.duration import EPOCHS
from bigbatch.rules.learning_rate import LearningRate
from bigbatch.rules.sampling import Sampling, process_workers
from bigbatch.rules.scaling import SCALING_SOURCES
from bigbatch.rules.schedules import SCHEDULE_SOURCES
from bigbatch.user_code import is_user_code

PAPER: Final = "arXiv 1706.02677"
WARMUP_START: Final = "warmup_start_learning_rate"
COST_OF_PORTABLE: Final = (
    "the same bits on every x86-64 CPU with AVX2, at 0.85 of ResNet-20's native speed and half of a small GPT's "
    "(benchmarks/results/portable_speed.md); `bigbatch bench step --numerics portable` measures yours"
)
SOURCES: Final = {**SCHEDULE_SOURCES, PLATEAU: "times the factor where the results no longer improve, as in torch"}


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: of the value.
        before: at the reference.
        after: at the planned minibatch size.
        rule: how it follows, and the source.
    """

    name: str
    before: str
    after: str
    rule: str


@dataclass(frozen=True)
class Plan:
    """What a recipe means for a data set.

    Attributes:
        recipe: what would be trained.
        num_samples: of the training data.

    Raises:
        InputError: the minibatch is larger than the data.
    """

    recipe: Recipe
    num_samples: int

    @property
    def sampling(self) -> Sampling:
        """How the data is cut, at the full minibatch size."""
        return self.recipe.sampling(self.num_samples)

    @property
    def learning_rate(self) -> LearningRate:
        """The rate over the iterations of a training that keeps its first size; with AdaScale, the reference's."""
        return course_of(self.recipe, self.num_samples).schedule

    def to_json(self, at: Sequence[int] = ()) -> dict[str, Any]:
        """Return every derived value.

        Args:
            at: iterations whose learning rate is wanted, counted from 0.

        Raises:
            InputError: an iteration is outside the training, or its rate follows from the gradients.
        """
        recipe, sampling, rate = self.recipe, self.sampling, self.learning_rate
        return {
            "recipe": recipe.name,
            "minibatch_size": recipe.minibatch_size,
            "worker_minibatch_size": recipe.worker_minibatch_size,
            "worker_count": recipe.worker_count,
            "reference": {
                "minibatch_size": recipe.reference.minibatch_size,
                "learning_rate": recipe.reference.learning_rate,
            },
            "scaling_rule": recipe.scaling.rule,
            "base_learning_rate": recipe.base_learning_rate,
            "warmup": recipe.warmup.kind if rate.warmup_iterations else "none",
            "warmup_epochs": recipe.warmup_epochs,
            "warmup_iterations": rate.warmup_iterations,
            "own_warmup_iterations": rate.own_warmup_iterations,
            WARMUP_START: rate(0) if rate.ramp_iterations else recipe.base_learning_rate,
            "schedule": recipe.schedule.kind,
            "milestone_iterations": list(rate.milestone_iterations) if recipe.schedule.kind == "step" else [],
            "length": str(recipe.length),
            "epochs": recipe.epochs or rate.total_iterations / sampling.iterations_per_epoch,
            "num_train_samples": self.num_samples,
            "samples_dropped_per_epoch": sampling.num_dropped,
            "iterations_per_epoch": sampling.iterations_per_epoch,
            **forecast(recipe, self.num_samples).to_json(),
            **optimizer_values(recipe),
            **kept_values(recipe),
            "seed": recipe.seed,
            "numerics": recipe.numerics,
            "learning_rate_at": {str(iteration): rate_at(recipe, self.num_samples, iteration) for iteration in at},
            "warnings": warnings_of(recipe),
        }

    def rows(self, at: Sequence[int] = ()) -> list[Row]:
        """Return the table: each value at the reference and at the planned minibatch size.

        A row that says nothing at either size (no warmup, no decay, no milestone) is left out.
        """
        before = Plan(at_reference(self.recipe), self.num_samples).to_json()
        after = self.to_json(at)
        rows = [
            Row(name, _text(before.get(name, "")), _text(after.get(name, "")), rule)
            for name, rule in self._rules(before, after).items()
            if before.get(name) or after.get(name) or name == WARMUP_START
        ]
        rates = after["learning_rate_at"].items()
        return rows + [Row(f"learning rate at {i}", "", _text(rate), "warmup, then schedule") for i, rate in rates]

    def _rules(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
        """Return the rule and source of each row that the recipe may have, in the table's order."""
        recipe, unit = self.recipe, self.recipe.length.unit
        rules = {
            "minibatch_size": "samples per update (kn)",
            "worker_minibatch_size": f"n: kept; {_of_a_worker(recipe)}",
            "worker_count": "k = kn / n",
            "base_learning_rate": rate_source(recipe, SCALING_SOURCES[recipe.scaling.rule]),
            "own_warmup_iterations": f"{recipe.reference.warmup}: the reference's own, kept in samples",
            "warmup_epochs": f"{after['warmup']}; only above the reference size ({PAPER}, section 2.2)",
            "warmup_iterations": f"{after['warmup']}, {recipe.warmup.duration} ({PAPER}, section 2.2)",
            WARMUP_START: _start(recipe),
            "epochs": f"kept ({PAPER}, section 2.1)",
            "length": "kept: as many samples at every size",
            "iterations_per_epoch": f"of {self.num_samples:,} samples",
            "samples_dropped_per_epoch": "of the last incomplete minibatch; different samples in every epoch",
            "total_iterations": "epochs x iterations per epoch" if unit == EPOCHS else "the length's samples / kn",
            "schedule": SOURCES.get(recipe.schedule.kind, "your function of the share of the training that is over"),
            "milestone_iterations": _of_milestones(unit),
            **optimizer_rules(recipe),
            **kept_rules(),
            **forecast(recipe, self.num_samples).rules,
        }
        if recipe.numerics == PORTABLE:
            rules["numerics"] = COST_OF_PORTABLE
        idle = {"length"} if unit == EPOCHS else {"epochs"}
        if not any(table[name] for table in (before, after) for name in ("warmup_iterations", "own_warmup_iterations")):
            idle.add(WARMUP_START)
        return {name: rule for name, rule in rules.items() if name not in idle}


def _of_milestones(unit: str) -> str:
    if unit == EPOCHS:
        return f"in {unit} ({PAPER}, section 5.1)"
    return f"in {unit}, so after as many samples at every size ({PAPER}, section 5.4)"


def _of_a_worker(recipe: Recipe) -> str:
    if recipe.model.frozen_norms:
        return "with frozen batch normalisation, a loss depends on it only where it divides by worker"
    of_the_loss = f"part of the loss ({PAPER}, section 2.3)"
    if recipe.model.norm_group:
        return f"one pass over {recipe.worker_minibatch_size // recipe.model.norm_group} groups of normalisation"
    if is_user_code(recipe.model.name) or is_of_library(recipe.model.name):
        return f"with batch normalisation it is {of_the_loss}"
    return f"batch normalisation makes it {of_the_loss}"


def _start(recipe: Recipe) -> str:
    if not recipe.reference.warmup.amount:
        return "the reference rate"
    return f"{recipe.reference.warmup_start:g} x the rate that the reference starts at"


def at_reference(recipe: Recipe) -> Recipe:
    """Return the recipe at its reference minibatch size.

    A reference that does not divide into the recipe's workers becomes one worker, and one group of normalisation if it
    does not divide into the recipe's groups.
    """
    size = recipe.reference.minibatch_size
    worker = recipe.worker_minibatch_size if size % recipe.worker_minibatch_size == 0 else size
    group = 0 if worker % (recipe.model.norm_group or 1) else recipe.model.norm_group
    rule = recipe.scaling.rule if recipe.scaling.rule in FIXED_RULES else "linear"  # here all rules are one
    return replace(
        recipe,
        minibatch_size=size,
        worker_minibatch_size=worker,
        model=replace(recipe.model, norm_group=group),
        scaling=replace(recipe.scaling, rule=rule),
        growth=Growth(),
    )


def process_blocks(recipe: Recipe, processes: int) -> list[range]:
    """Return the workers of each process, in the first epoch if the minibatch grows.

    Raises:
        InputError: more processes than workers.
    """
    count = recipe.initial_worker_count
    return [process_workers(count, rank=rank, world_size=processes) for rank in range(processes)]


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return ", ".join(f"{size} from {epoch}" for epoch, size in value.items())
    return str(value)
