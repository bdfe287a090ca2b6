"""Predictions and targets to measure, and a model that predicts what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from chosen import BACKEND

from anynet import Model
from anynet.nn import SGD, Linear, Values

ROWS = 2500
GENERATOR = np.random.default_rng(4)
WEIGHT = GENERATOR.uniform(0.1, 2.0, ROWS)


def passing(columns: int, loss: Any, metrics: Any, backend: str = BACKEND) -> Model:
    """A model that predicts what it is given."""
    layer = Linear(columns, weight=Values(np.eye(columns).tolist()))
    return Model(layer, loss, SGD(0.1), metrics=metrics, backend=backend, dtype="float64")


def logits(columns: int) -> Any:
    return 2 * GENERATOR.normal(size=(ROWS, columns))


THREE, TWO, ONE, MANY = logits(3), logits(2), logits(1), logits(4)
CLASSES = np.where(GENERATOR.random(ROWS) < 0.5, THREE.argmax(axis=1), GENERATOR.integers(0, 3, ROWS))
SECOND = (TWO[:, 1] - TWO[:, 0] + 2 * GENERATOR.normal(size=ROWS) > 0).astype(int)
YES = (ONE + 2 * GENERATOR.normal(size=(ROWS, 1)) > 0).astype(float)
LABELS = (MANY + GENERATOR.normal(size=MANY.shape) > 1).astype(float)
VALUES = 1e4 + MANY + GENERATOR.normal(size=MANY.shape)
