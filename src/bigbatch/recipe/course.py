"""The course of a training: where it is, and what follows from that: the minibatch's size, the rate, the end.

The trainer drives it: `observe` what the gradients tell, ask for the `learning_rate`, `advance` by an update, and
`end_epoch` when one is over. All of it is arithmetic on numbers that every process knows alike, and all of it can be
saved and put back.
"""

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.adascale import gain
from bigbatch.rules.gradient_noise import GradientNoise, RunningNoise
from bigbatch.rules.growth import largest_doubling
from bigbatch.rules.learning_rate import LearningRate

NOISE_EVERY: Final = 8  # iterations; measured in each, it would cost a small model's step 5 to 13 %
ROUNDED: Final = 1 + 1e-9  # a rate times 0.1 divides by a hair less than ten, and ten times the minibatch is meant


@dataclass
class Place:
    """Where a training is.

    Attributes:
        minibatch_size: samples per update in this epoch.
        epoch: how many are over.
        epoch_iteration: updates done in this one.
        iteration: updates done in all, and the number of the next.
        samples_consumed: by all of them.
        steps: of the reference that they are worth, with AdaScale (its scale-invariant iterations, tau).
        gain: of the last update, with AdaScale.
        noise: running averages of what the gradients tell.
    """

    minibatch_size: int
    epoch: int = 0
    epoch_iteration: int = 0
    iteration: int = 0
    samples_consumed: int = 0
    steps: float = 0.0
    gain: float = 1.0
    noise: RunningNoise = field(default_factory=RunningNoise)


class Course:
    """A training's way from its first update to its last.

    Args:
        recipe: what is trained.
        num_samples: of the training data.

    Raises:
        InputError: the data is smaller than a minibatch.

    >>> from bigbatch.recipe.presets import digits
    >>> course = Course(digits(), 1280)
    >>> course.iterations_per_epoch, course.learning_rate, course.is_over
    (80, 0.05, False)
    """

    def __init__(self, recipe: Recipe, num_samples: int) -> None:
        self.recipe, self.num_samples = recipe, num_samples
        recipe.sampling(num_samples)  # which also refuses
        self.place = Place(recipe.initial_minibatch_size)

    @property
    def iterations_per_epoch(self) -> int:
        """Updates of this epoch, if nothing ends it before."""
        return self.num_samples // self.place.minibatch_size

    @cached_property
    def schedule(self) -> LearningRate:
        """The rate over the iterations of a training that keeps one size: with AdaScale, over the reference's."""
        size = self.recipe.reference.minibatch_size if self.recipe.is_adascale else self.recipe.initial_minibatch_size
        return self.recipe.learning_rate(self.num_samples // size)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        place, recipe = self.place, self.recipe
        if recipe.is_adascale:
            return place.gain * self.schedule(min(int(place.steps), self.schedule.total_iterations - 1))
        if recipe.is_growing:
            return self.schedule(self._position()) * self._growth_of_rate()
        return self.schedule(place.iteration)

    @property
    def measures_noise(self) -> bool:
        """Whether the next update's gradients are asked for their noise; with AdaScale, always."""
        return self.recipe.is_adascale or self.place.iteration % NOISE_EVERY == 0

    @property
    def is_epoch_over(self) -> bool:
        """Whether this epoch has no further update."""
        return self._has_come_as_far or self.place.epoch_iteration >= self.iterations_per_epoch

    @property
    def is_over(self) -> bool:
        """Whether all epochs are over."""
        if self.recipe.is_adascale:
            return self.place.epoch_iteration == 0 and self._has_come_as_far
        return self.place.epoch >= self.recipe.epochs

    @property
    def _has_come_as_far(self) -> bool:
        """Whether AdaScale has come as far as the reference; at the latest after as many updates, some left out."""
        end = self.schedule.total_iterations
        return self.recipe.is_adascale and max(self.place.steps, self.place.iteration) >= end

    @property
    def total_iterations(self) -> int:
        """Updates of the whole training, as far as can be told by now."""
        place = self.place
        if self.recipe.is_adascale:
            return place.iteration + max(0, round((self.schedule.total_iterations - place.steps) / place.gain))
        left = (self.recipe.epochs - place.epoch) * self.iterations_per_epoch
        return place.iteration - place.epoch_iteration + left

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole training, as far as can be told by now."""
        return -(-self.total_iterations // self.iterations_per_epoch) if self.recipe.is_adascale else self.recipe.epochs

    def observe(self, noise: GradientNoise | None) -> None:
        """Take in what the next update's gradients tell; with AdaScale, the rate follows."""
        if noise is None:
            return
        place, reference = self.place, self.recipe.reference.minibatch_size
        iterations = 1 if self.recipe.is_adascale else NOISE_EVERY
        place.noise.add(noise, scale=iterations * place.minibatch_size / reference)
        average = place.noise.average
        if self.recipe.is_adascale and average:
            place.gain = gain(average, minibatch_size=place.minibatch_size, reference=reference)

    @property
    def average_decay(self) -> float:
        """How much an average of the weights keeps of itself in the next update, by what that is worth; 0 for none."""
        if self.recipe.is_adascale:
            return float(self.recipe.average.decay**self.place.gain)
        return self.recipe.average_decay(self.place.minibatch_size)

    def advance(self, *, is_taken: bool = True) -> None:
        """An update is done, or was left out: then it is worth nothing."""
        place = self.place
        place.iteration += 1
        place.epoch_iteration += 1
        place.samples_consumed += place.minibatch_size
        if self.recipe.is_adascale and is_taken:
            place.steps += place.gain

    def end_epoch(self) -> None:
        """Go on to the next epoch, and choose its minibatch size."""
        self.place.epoch += 1
        self.place.epoch_iteration = 0
        if self.recipe.is_growing and not self.is_over and self.place.epoch >= self.recipe.warmup_epochs:
            self.place.minibatch_size = max(self.place.minibatch_size, self._grown_size())

    def state(self) -> dict[str, Any]:
        """Return plain values from which `restore` goes on."""
        return asdict(self.place)

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` has returned.

        Raises:
            InputError: it is none.
        """
        try:
            place = Place(**{**state, "noise": RunningNoise(**state["noise"])})
            self.recipe.sampling(self.num_samples, place.minibatch_size)
        except (KeyError, TypeError) as error:
            msg = "the checkpoint does not say where the training is; put a whole one back, or choose another --output"
            raise InputError(msg) from error
        self.place = place

    def _grown_size(self) -> int:
        growth, start = self.recipe.growth, self.recipe.initial_minibatch_size
        if growth.kind == "schedule":
            # Smith et al. 2018: the rate stays, and the minibatch grows by what the schedule would divide the rate by.
            limit = start * self.schedule.base / self.schedule(self._position()) * ROUNDED
        else:
            average = self.place.noise.average
            # A signal that cannot be told from noise yet is no reason to grow: early in training that is chance.
            limit = growth.noise_fraction * (average.scale or 0.0) if average else 0.0
        return largest_doubling(start, self.recipe.minibatch_size, limit=limit)

    def _position(self) -> float:
        """Return how many iterations of the first size the training has come."""
        per_epoch = self.num_samples // self.recipe.initial_minibatch_size
        return per_epoch * (self.place.epoch + self.place.epoch_iteration / self.iterations_per_epoch)

    def _growth_of_rate(self) -> float:
        size, start = self.place.minibatch_size, self.recipe.initial_minibatch_size
        if self.recipe.growth.kind == "schedule":  # what the minibatch has grown by, the rate has not fallen by
            return size / start
        return self.recipe.scaled_rate(size) / self.recipe.base_learning_rate
