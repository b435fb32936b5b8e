"""How the base rate changes while training: each schedule is a pure function of the iteration.

Each takes the base rate, an iteration and how many there are, and returns the rate. Its keywords are the options that
a recipe's section `schedule` sets. Beyond the last iteration the rate stays at its end.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

from bigbatch.errors import InputError, nearest

Schedule = Callable[..., float]
LINEAR, ONE_MINUS_SQRT = "linear", "1-sqrt"
DECAYS: Final = (LINEAR, ONE_MINUS_SQRT)


def constant(base: float, iteration: float, num_iterations: int) -> float:
    """Keep the base rate.

    >>> constant(0.1, 3, 4)
    0.1
    """
    del iteration, num_iterations
    return base


def step_decay(
    base: float, iteration: float, num_iterations: int, *, milestones: tuple[int, ...] = (), factor: float = 0.1
) -> float:
    """Multiply the base rate by `factor` once for each milestone that is reached (arXiv 1706.02677, section 5.1).

    >>> [round(step_decay(1.0, i, 90, milestones=(30, 60)), 4) for i in (29, 30, 60)]
    [1.0, 0.1, 0.01]
    """
    del num_iterations
    return base * factor ** sum(iteration >= milestone for milestone in milestones)


def cosine_decay(
    base: float,
    iteration: float,
    num_iterations: int,
    *,
    floor: float = 0.0,
    period: float = 0.0,
    period_factor: float = 1.0,
) -> float:
    """Go down along half a cosine, once or with restarts (SGDR, Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5).

    Args:
        base: the rate at the start.
        iteration: counted from the schedule's start.
        num_iterations: of the whole schedule.
        floor: where it ends, as a share of the base rate.
        period: iterations until it first restarts at the base rate (T_0); 0 for no restart.
        period_factor: how many times as long as the one before each further period is (T_mult).

    >>> [round(cosine_decay(1.0, i, 4), 4) for i in range(5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    >>> [round(cosine_decay(1.0, i, 9, floor=0.1, period=3, period_factor=2), 4) for i in range(6)]
    [1.0, 0.775, 0.325, 1.0, 0.9397, 0.775]
    """
    if period:
        iteration, length = _within_period(iteration, period, period_factor)
    else:
        iteration, length = min(iteration, num_iterations), num_iterations
    lowest = floor * base
    return lowest + (base - lowest) * (1 + math.cos(math.pi * iteration / length)) / 2


def _within_period(iteration: float, period: float, factor: float) -> tuple[float, float]:
    """Return how far the iteration lies in its period, and how long that period is."""
    if factor == 1:
        return iteration % period, period
    while iteration >= period:
        iteration, period = iteration - period, period * factor
    return iteration, period


def linear_decay(base: float, iteration: float, num_iterations: int, *, floor: float = 0.0) -> float:
    """Go down by a constant amount, to a share of the base rate (as in Devlin et al. 2019, arXiv 1810.04805).

    >>> [linear_decay(1.0, i, 4) for i in range(5)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return polynomial_decay(base, iteration, num_iterations, floor=floor)


def polynomial_decay(
    base: float, iteration: float, num_iterations: int, *, power: float = 1.0, floor: float = 0.0
) -> float:
    """Go down by a power of what is left of the schedule ("poly", Chen et al. 2017, arXiv 1606.00915, section 4.1).

    >>> [round(polynomial_decay(1.0, i, 4, power=2), 4) for i in range(5)]
    [1.0, 0.5625, 0.25, 0.0625, 0.0]
    """
    left: float = (1 - min(iteration, num_iterations) / num_iterations) ** power
    return base * (floor + (1 - floor) * left)


def stable_decay(
    base: float, iteration: float, num_iterations: int, *, share: float = 0.2, decay: str = LINEAR, floor: float = 0.0
) -> float:
    """Keep the base rate, then go down over the last share of the training.

    The schedule is WSD (Hu et al. 2024, arXiv 2404.06395); both decays are those of Hägele et al. 2024, arXiv
    2405.18392, section 3.

    Args:
        base: the rate that is kept.
        iteration: counted from the start of training.
        num_iterations: of the whole training, warmup included.
        share: of the training that the decay takes.
        decay: "linear", or "1-sqrt": 1 minus the root of how much of the decay is over.
        floor: where it ends, as a share of the base rate.

    >>> [round(stable_decay(1.0, i, 8, share=0.5), 4) for i in (0, 4, 6, 8)]
    [1.0, 1.0, 0.5, 0.0]
    >>> round(stable_decay(1.0, 5, 8, share=0.5, decay="1-sqrt"), 4)
    0.5
    """
    start = (1 - share) * num_iterations
    over = max(0.0, min(iteration, num_iterations) - start) / (num_iterations - start)
    return base * (floor + (1 - floor) * (1 - (over if decay == LINEAR else math.sqrt(over))))


def one_cycle(
    base: float,
    iteration: float,
    num_iterations: int,
    *,
    share: float = 0.3,
    start_divisor: float = 25.0,
    end_divisor: float = 1e4,
) -> float:
    """Go up to the base rate and down again along two cosines (Smith and Topin 2018, arXiv 1708.07120).

    As torch's OneCycleLR with its two phases. The base rate is its peak; the momentum does not change.

    Args:
        base: the peak; this is what scales.
        iteration: counted from the start of training.
        num_iterations: of the whole training.
        share: of the training that goes up (torch's pct_start).
        start_divisor: the peak over the first rate (torch's div_factor).
        end_divisor: the first rate over the last (torch's final_div_factor).

    >>> [round(one_cycle(1.0, i, 11, share=0.5), 4) for i in (0, 2, 4, 7, 10)]
    [0.04, 0.4366, 0.9711, 0.5712, 0.0]
    """
    start, end = base / start_divisor, base / start_divisor / end_divisor
    top, last = share * num_iterations - 1, num_iterations - 1
    if iteration <= top and top > 0:
        return _between(start, base, iteration / top)
    return _between(base, end, (min(iteration, last) - top) / (last - top)) if last > top else base


def _between(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * part))


SCHEDULES: Final[Mapping[str, Schedule]] = {
    "step": step_decay,
    "cosine": cosine_decay,
    "constant": constant,
    "linear": linear_decay,
    "polynomial": polynomial_decay,
    "warmup-stable-decay": stable_decay,
    "one-cycle": one_cycle,
}
WARMS_UP: Final = "one-cycle"  # by itself, so that no other warmup fits before it
FALLS: Final = ("step", "cosine", "constant", "linear", "polynomial", "warmup-stable-decay")  # without restarts
AFTER_WARMUP: Final = ("cosine", "linear", "polynomial")  # the others count from the start of training
SCHEDULE_SOURCES: Final = {
    "step": "times the factor at each milestone, arXiv 1706.02677, section 5.1",
    "cosine": "half a cosine after the warmup, Loshchilov and Hutter 2017, arXiv 1608.03983",
    "constant": "the base rate is kept",
    "linear": "down by a constant amount after the warmup, Devlin et al. 2019, arXiv 1810.04805",
    "polynomial": "a power of what is left after the warmup, Chen et al. 2017, arXiv 1606.00915",
    "warmup-stable-decay": "kept, then down over the last share, Hu et al. 2024, arXiv 2404.06395",
    "one-cycle": "up to the base rate and down, Smith and Topin 2018, arXiv 1708.07120; it warms up by itself",
}


def options_of(schedule: str) -> dict[str, object]:
    """Return the names of a schedule's options, each with its default.

    >>> options_of("linear")
    {'floor': 0.0}
    """
    return dict(getattr(SCHEDULES[schedule], "__kwdefaults__", None) or {})


def check_options(schedule: str, options: Mapping[str, object], *, prefix: str = "") -> None:
    """Refuse options that the schedule does not have, and values out of their bounds.

    Args:
        schedule: one of `SCHEDULES`.
        options: by name.
        prefix: put before a name in errors.

    Raises:
        InputError: names the option.
    """
    known = options_of(schedule)
    for name, value in options.items():
        if name not in known:
            hint = nearest(name, [*known]) if known else "it has none"
            msg = f"{prefix}{name} is no option of the schedule '{schedule}'; {hint}"
            raise InputError(msg)
        if name in BOUNDS and not BOUNDS[name][0](value):
            msg = f"{prefix}{name} must be {BOUNDS[name][1]}, not {value}"
            raise InputError(msg)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _within(least: float, most: float = math.inf, *, is_open: bool = False) -> Callable[[object], bool]:
    def is_within(value: object) -> bool:
        return _is_number(value) and least <= value <= most and not (is_open and value == least)  # type: ignore[operator]

    return is_within


BOUNDS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "factor": (_within(0, is_open=True), "a number above 0"),
    "floor": (_within(0, 1), "a number from 0 to 1"),
    "period": (_within(0), "a number of at least 0"),
    "period_factor": (_within(1), "a number of at least 1"),
    "power": (_within(0, is_open=True), "a number above 0"),
    "share": (_within(0, 1, is_open=True), "a number above 0, and at most 1"),
    "decay": (lambda value: value in DECAYS, " or ".join(f"'{decay}'" for decay in DECAYS)),
    "start_divisor": (_within(1), "a number of at least 1"),
    "end_divisor": (_within(1), "a number of at least 1"),
}
