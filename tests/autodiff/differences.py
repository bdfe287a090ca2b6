"""Numerical derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

STEP = 1e-6


def central_differences(function: Callable[[Any], Any], x: Any) -> Any:
    """The gradient of a function of an array of float64 that returns one number."""
    gradient = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[at] += STEP
        behind[at] -= STEP
        gradient[at] = (float(function(ahead)) - float(function(behind))) / (2 * STEP)
    return gradient
