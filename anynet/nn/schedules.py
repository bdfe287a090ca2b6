"""Learning rate schedules: functions of the step, written with array operations only.

A schedule replaces the number `lr` of an optimizer, as in ``SGD(lr=LinearDecay(0.1, steps=9375))``. A step is a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from anynet.errors import UsageError, shown
from anynet.nn.checks import check_number, is_finite, python_number
from anynet.nn.layer import Array, Namespace


class Schedule(Protocol):
    """``schedule(xp, step)`` is the learning rate of a step; `step` is a 0-d float array that counts from 0."""

    def __call__(self, xp: Namespace, step: Array) -> Array: ...


@dataclass(frozen=True)
class LinearDecay:
    """A learning rate that falls linearly from `initial` to 0 in `steps` training steps, which are batches.

    Raises
    ------
    UsageError
        When `initial` or `steps` is not above 0.

    >>> import numpy as np
    >>> [float(LinearDecay(0.1, steps=4)(np, np.asarray(step))) for step in (0.0, 2.0, 9.0)]
    [0.1, 0.05, 0.0]
    """

    initial: float
    steps: int

    def __post_init__(self) -> None:
        check_schedule(self, "initial")

    def __call__(self, xp: Namespace, step: Array) -> Array:
        return self.initial * xp.maximum(1.0 - step / self.steps, 0.0)


@dataclass(frozen=True)
class StepDecay:
    """A learning rate that is multiplied by `factor` after every `steps` steps, as by PyTorch's StepLR.

    Raises
    ------
    UsageError
        When a number is not above 0.

    >>> import numpy as np
    >>> [float(StepDecay(0.8, steps=10, factor=0.5)(np, np.asarray(step)).round(6)) for step in (9.0, 10.0, 20.0)]
    [0.8, 0.4, 0.2]
    """

    initial: float
    steps: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_schedule(self, "initial", "factor")

    def __call__(self, xp: Namespace, step: Array) -> Array:
        return self.initial * xp.exp(math.log(self.factor) * _times(xp, step, self.steps))


@dataclass(frozen=True)
class ExponentialDecay:
    """A learning rate that is multiplied by `factor` over `steps` steps, a little in each.

    initial * factor^(t / steps) at step t; with ``steps=1`` it is PyTorch's ExponentialLR.

    Raises
    ------
    UsageError
        When a number is not above 0.

    >>> import numpy as np
    >>> [float(ExponentialDecay(0.8, steps=10, factor=0.25)(np, np.asarray(step)).round(6)) for step in (0.0, 5.0)]
    [0.8, 0.4]
    """

    initial: float
    steps: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_schedule(self, "initial", "factor")

    def __call__(self, xp: Namespace, step: Array) -> Array:
        return self.initial * xp.exp(step * (math.log(self.factor) / self.steps))


@dataclass(frozen=True)
class CosineDecay:
    """A learning rate that falls from `initial` to `final` in `steps` steps along half a cosine, and stays there.

    final + (initial - final) * (1 + cos(pi * t / steps)) / 2 at step t (Loshchilov and Hutter 2017). Unlike PyTorch's
    CosineAnnealingLR, it does not rise again.

    Raises
    ------
    UsageError
        When `initial` or `steps` is not above 0, or `final` is negative.

    >>> import numpy as np
    >>> [float(CosineDecay(0.2, steps=4)(np, np.asarray(step)).round(6)) for step in (0.0, 2.0, 9.0)]
    [0.2, 0.1, 0.0]
    """

    initial: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        check_schedule(self, "initial")
        check_number(self, "final", "0 or more and finite", lambda rate: rate >= 0)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        return self.initial + (self.final - self.initial) * _swing(xp, xp.minimum(step / self.steps, 1.0))


@dataclass(frozen=True)
class CosineRestarts:
    """`CosineDecay` again and again, from `initial`: SGDR (Loshchilov and Hutter 2017).

    The first cycle has `steps` steps, and each other one `growth` times as many as the one before it. PyTorch's
    CosineAnnealingWarmRestarts calls these T_0 and T_mult.

    Raises
    ------
    UsageError
        When `initial`, `steps` or `growth` is not above 0, or `final` is negative.

    >>> import numpy as np
    >>> schedule = CosineRestarts(0.2, steps=4, growth=2)
    >>> [float(schedule(np, np.asarray(step)).round(6)) for step in (2.0, 4.0, 8.0, 12.0)]
    [0.1, 0.2, 0.1, 0.2]
    """

    initial: float
    steps: int
    growth: int = 1
    final: float = 0.0

    def __post_init__(self) -> None:
        check_schedule(self, "initial", steps=("steps", "growth"))
        check_number(self, "final", "0 or more and finite", lambda rate: rate >= 0)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        growth = self.growth
        if growth == 1:
            begin, length = self.steps * _times(xp, step, self.steps), self.steps
        else:
            # Cycle n begins after steps * (growth^n - 1) / (growth - 1) steps; half a step more, as in `_times`.
            n = xp.floor(xp.log1p((step + 0.5) * ((growth - 1) / self.steps)) / math.log(growth))
            times = xp.round(xp.exp(n * math.log(growth)))
            begin, length = (times - 1.0) * (self.steps / (growth - 1)), self.steps * times
        return self.initial + (self.final - self.initial) * _swing(xp, (step - begin) / length)


@dataclass(frozen=True)
class OneCycle:
    """A learning rate that rises to `peak` and falls to almost 0 in `steps` steps (Smith and Topin 2018).

    As PyTorch's OneCycleLR: from peak / div_factor along half a cosine up to the peak, which step
    ``pct_start * steps - 1`` reaches, and down to peak / div_factor / final_div_factor at the last step.

    Parameters
    ----------
    peak : float
    steps : int
    pct_start : float
        The share of the steps in which it rises.
    div_factor, final_div_factor : float

    Raises
    ------
    UsageError
        When a number is not above 0, or `pct_start` leaves no step to rise or to fall.

    >>> import numpy as np
    >>> schedule = OneCycle(0.25, steps=11, pct_start=5 / 11)
    >>> [float(schedule(np, np.asarray(step)).round(6)) for step in (0.0, 2.0, 4.0, 10.0)]
    [0.01, 0.13, 0.25, 1e-06]
    """

    peak: float
    steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        check_schedule(self, "peak", "div_factor", "final_div_factor")
        words = f"between 1 / steps and 1, here {1 / self.steps:.3g} and 1"
        check_number(self, "pct_start", words, lambda share: 1 < share * self.steps < self.steps)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        rise = self.pct_start * self.steps - 1.0
        fall = self.steps - 1.0 - rise
        first = self.peak / self.div_factor
        up = _swing(xp, xp.minimum(step / rise, 1.0))
        down = _swing(xp, xp.minimum(xp.maximum((step - rise) / fall, 0.0), 1.0))
        return first + (self.peak - first) * up + (first / self.final_div_factor - self.peak) * down


def check_rate(rate: Any, name: str) -> Any:
    """A learning rate as a Python number; a schedule stays what it is.

    Raises
    ------
    UsageError
        When it is neither a number above 0 nor a schedule; the message calls it `name`.
    """
    if callable(rate) and not isinstance(rate, type):
        return rate
    number = python_number(rate)
    if number is None or not is_finite(number) or not number > 0:
        words = "above 0 and finite, or a schedule such as LinearDecay(0.1, 1000)"
        reason = ", which is no real number" if number is None else ""
        raise UsageError(f"{name} must be {words}, but is {shown(rate)}{reason}")
    return number


def check_schedule(schedule: object, *above_0: str, steps: tuple[str, ...] = ("steps",)) -> None:
    """Make fields of a schedule Python numbers above 0, and those in `steps` whole ones."""
    for name in above_0:
        check_number(schedule, name, "above 0 and finite", lambda number: number > 0)
    for name in steps:
        check_number(schedule, name, "a whole number, 1 or more", lambda steps: steps >= 1, whole=True)


def _times(xp: Namespace, step: Array, steps: int) -> Array:
    """How many times `steps` are over; half a step more, since a quotient may be rounded down from a whole number."""
    return xp.floor((step + 0.5) / steps)


def _swing(xp: Namespace, share: Array) -> Array:
    """From 0 to 1 along half a cosine."""
    return 0.5 - 0.5 * xp.cos(math.pi * share)
