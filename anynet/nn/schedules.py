"""Learning rate schedules: functions of the step, written with array operations only.

A schedule replaces the number `lr` of an optimizer, as in ``SGD(lr=LinearDecay(0.1, steps=9375))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from anynet.nn.checks import check_number
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
        check_number(self, "initial", "above 0 and finite", lambda rate: rate > 0)
        check_number(self, "steps", "a whole number, 1 or more", lambda steps: steps >= 1, whole=True)

    def __call__(self, xp: Namespace, step: Array) -> Array:
        return self.initial * xp.maximum(1.0 - step / self.steps, 0.0)
