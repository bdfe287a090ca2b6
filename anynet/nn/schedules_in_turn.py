"""Schedules made of others, in turn: a warm-up before one, and a chain of many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from anynet.errors import UsageError, shown
from anynet.nn.checks import check_number, python_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.schedules import Schedule, check_rate, check_schedule


@dataclass(frozen=True)
class Warmup:
    """A linear rise, in `steps` steps, to the first rate of another schedule, which begins then.

    The rise begins at `start_factor` times that rate, as in PyTorch's LinearLR, followed by the other in SequentialLR.

    Parameters
    ----------
    schedule : Schedule or float
        A number is a rate that stays.
    steps : int
    start_factor : float
        At least 0 and at most 1.

    Raises
    ------
    UsageError
        When a number is out of range, or `schedule` is neither a number nor a schedule.

    >>> import numpy as np
    >>> from anynet.nn import LinearDecay
    >>> schedule = Warmup(LinearDecay(0.2, steps=10), steps=4, start_factor=0.5)
    >>> [float(schedule(np, np.asarray(step)).round(6)) for step in (0.0, 2.0, 4.0, 9.0)]
    [0.1, 0.15, 0.2, 0.1]
    """

    schedule: float | Schedule
    steps: int
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", check_rate(self.schedule, "Warmup: schedule"))
        check_schedule(self)
        check_number(self, "start_factor", "at least 0 and at most 1", lambda factor: 0 <= factor <= 1)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        missing = (1.0 - self.start_factor) * xp.maximum(1.0 - step / self.steps, 0.0)
        return (1.0 - missing) * _rate(xp, self.schedule, xp.maximum(step - self.steps, 0.0))


@dataclass(frozen=True)
class Chain:
    """Schedules one after the other, each counting from 0 when it begins, as in PyTorch's SequentialLR.

    Parameters
    ----------
    schedules : sequence of Schedule or float
        A number is a rate that stays.
    milestones : sequence of int
        The steps, counted from the start of the chain, at which the second schedule begins, the third, and so on.

    Raises
    ------
    UsageError
        When there is not one milestone between every two schedules, or milestones do not rise.

    >>> import numpy as np
    >>> from anynet.nn import LinearDecay
    >>> schedule = Chain([0.1, LinearDecay(0.2, steps=10)], milestones=[4])
    >>> [float(schedule(np, np.asarray(step)).round(6)) for step in (0.0, 3.0, 4.0, 9.0)]
    [0.1, 0.1, 0.2, 0.1]
    """

    schedules: tuple[float | Schedule, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        for name in ("schedules", "milestones"):
            if not isinstance(given := getattr(self, name), (list, tuple)):
                raise UsageError(f"Chain: {name} must be a list, but are {shown(given)}")
        object.__setattr__(self, "schedules", tuple(check_rate(rate, "Chain: each") for rate in self.schedules))
        steps = tuple(map(python_number, self.milestones))
        whole = tuple(step for step in steps if isinstance(step, int))
        rising = all(before < after for before, after in pairwise((0, *whole)))
        if not rising or len(whole) < len(steps) or len(whole) != len(self.schedules) - 1:
            words = f"{len(self.schedules) - 1} whole numbers above 0 that rise, one less than schedules"
            raise UsageError(f"Chain: milestones must be {words}, but are {shown(self.milestones)}")
        object.__setattr__(self, "milestones", whole)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        rate = _rate(xp, self.schedules[0], step)
        for schedule, begin in zip(self.schedules[1:], self.milestones, strict=True):
            rate = xp.where(step < begin, rate, _rate(xp, schedule, xp.maximum(step - begin, 0.0)))
        return rate


def _rate(xp: Namespace, schedule: float | Schedule, step: Array) -> Array:
    return schedule(xp, step) if callable(schedule) else xp.full_like(step, schedule)
