"""Samples with values and classes to learn, and estimators that are quick to."""

from __future__ import annotations

from typing import Any

import numpy as np

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(150, 4))
VALUES = X @ np.asarray([1.0, -2.0, 0.5, 0.0])
TWO = np.asarray(["no", "yes"])[(VALUES > 0).astype(int)]
THREE = np.digitize(VALUES, [-1, 1])


def quick(estimator: type, **settings: Any) -> Any:
    return estimator(**{"max_iter": 30, "random_state": 0, **settings})
