"""Where a training is: plain numbers that a checkpoint holds."""

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bigbatch.errors import InputError
from bigbatch.recipe.recipe import Recipe
from bigbatch.rules.gradient_noise import GradientNoise, RunningNoise
from bigbatch.rules.plateau import Plateau

NOISE_EVERY: Final = 8  # iterations; measured in each, it would cost a small model's step 5 to 13 %


@dataclass
class CourseState:
    """Where a training is.

    Attributes:
        minibatch_size: samples per update in this epoch.
        epoch: how many epochs are over.
        epoch_iteration: updates done in this epoch.
        iteration: updates done in all, and the number of the next.
        samples_consumed: by all updates.
        steps: of the reference that the updates are worth, with AdaScale (its scale-invariant iterations, tau).
        gain: of the last update, with AdaScale.
        noise: running averages of the gradient's signal and noise.
        plateau: what the results have done to the rate, with a schedule that follows them.
    """

    minibatch_size: int
    epoch: int = 0
    epoch_iteration: int = 0
    iteration: int = 0
    samples_consumed: int = 0
    steps: float = 0.0
    gain: float = 1.0
    noise: RunningNoise = field(default_factory=RunningNoise)
    plateau: Plateau = field(default_factory=Plateau)

    @property
    def is_noise_due(self) -> bool:
        """Whether the next update is one of those in which noise is measured."""
        return self.iteration % NOISE_EVERY == 0

    def observe(self, noise: GradientNoise | None, *, reference: int, iterations: int = NOISE_EVERY) -> None:
        """Add the noise of an update to the running averages.

        Args:
            noise: of the update; None if it was not measured.
            reference: the minibatch size of the reference.
            iterations: that this measurement counts for.
        """
        if noise is not None:
            self.noise.add(noise, scale=iterations * self.minibatch_size / reference)

    def advance(self, updates: int = 1) -> None:
        """Count updates of this epoch."""
        self.iteration += updates
        self.epoch_iteration += updates
        self.samples_consumed += updates * self.minibatch_size

    def end_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch += 1
        self.epoch_iteration = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, from which `restored` makes the state again."""
        return asdict(self)


def restored(values: dict[str, Any], recipe: Recipe, num_samples: int) -> CourseState:
    """Return the state that `CourseState.to_dict` has described.

    Raises:
        InputError: the values are no such state, or their minibatch size does not fit the recipe and the data.
    """
    try:
        inner = {"noise": RunningNoise(**values["noise"]), "plateau": Plateau(**values.get("plateau", {}))}
        state = CourseState(**{**values, **inner})
        recipe.sampling(num_samples, state.minibatch_size)
    except (KeyError, TypeError) as error:
        msg = "the checkpoint does not say where the training is; put a whole one back, or choose another --output"
        raise InputError(msg) from error
    return state
