"""How large a growing minibatch may become, and how the rate follows it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, final

from bigbatch.recipe.recipe import Recipe
from bigbatch.recipe.sections.growth import BY_NOISE_SCALE, BY_SCHEDULE
from bigbatch.rules.gradient_noise import GradientNoise

ROUNDED: Final = 1 + 1e-9  # a rate times 0.1 divides by a hair less than ten, and ten times the minibatch is meant


class GrowthRule(Protocol):
    """A kind of growth."""

    @property
    def follows_gradients(self) -> bool:
        """Whether measured noise decides the size."""
        ...

    def limit(self, *, base: float, rate: float, noise: GradientNoise | None) -> float:
        """Return the size that a minibatch may have by now.

        Args:
            base: the rate after scaling, before the schedule.
            rate: what the schedule makes of it by now.
            noise: averages of what was measured; None if nothing was.
        """
        ...

    def rate_factor(self, minibatch_size: int) -> float:
        """Return what the schedule's rate is multiplied by at a minibatch size."""
        ...


@final
@dataclass(frozen=True)
class BySchedule:
    """The minibatch grows by what the schedule would divide the rate by (Smith et al. 2018, arXiv 1711.00489).

    The rate falls by so much less.
    """

    recipe: Recipe
    follows_gradients = False

    def limit(self, *, base: float, rate: float, noise: GradientNoise | None) -> float:
        """See `GrowthRule`."""
        del noise
        return self.recipe.initial_minibatch_size * base / rate * ROUNDED

    def rate_factor(self, minibatch_size: int) -> float:
        """Return the growth of the minibatch, by which the rate does not fall."""
        return minibatch_size / self.recipe.initial_minibatch_size


@final
@dataclass(frozen=True)
class ByNoiseScale:
    """The minibatch follows the measured noise scale (McCandlish et al. 2018, arXiv 1812.06162), the rate its rule."""

    recipe: Recipe
    follows_gradients = True

    def limit(self, *, base: float, rate: float, noise: GradientNoise | None) -> float:
        """See `GrowthRule`; without a signal above the noise it does not grow, as early estimates are chance."""
        del base, rate
        return self.recipe.growth.noise_fraction * (noise.scale or 0.0) if noise else 0.0

    def rate_factor(self, minibatch_size: int) -> float:
        """Return the growth of the rate by the scaling rule."""
        return self.recipe.scaled_rate(minibatch_size) / self.recipe.base_learning_rate


GROWTH_RULES: Final[Mapping[str, Callable[[Recipe], GrowthRule]]] = {
    BY_SCHEDULE: BySchedule,
    BY_NOISE_SCALE: ByNoiseScale,
}
