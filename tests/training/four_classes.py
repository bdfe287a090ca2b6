"""A small model that tells four classes apart, and data to train it on."""

from __future__ import annotations

from typing import Any

import numpy as np
from chosen import BACKEND

from anynet.model import Model
from anynet.nn import SGD, CrossEntropyLoss, Linear, ReLU, Sequential, Tanh

CLASSES = 4


def data(rows: int = 100, columns: int = 6) -> tuple[Any, Any]:
    generator = np.random.default_rng(11)
    x = generator.normal(size=(rows, columns))
    return x, (x[:, :CLASSES].argmax(axis=1)).astype(np.int64)


def small_model(backend: Any = BACKEND, dtype: str = "float64", optimizer: Any = None, seed: int = 3) -> Model:
    network = Sequential(Linear(8), ReLU(), Linear(5), Tanh(), Linear(CLASSES))
    return Model(network, CrossEntropyLoss(), optimizer or SGD(0.2, 0.9), backend=backend, dtype=dtype, seed=seed)


def losses(history: list[dict[str, float]]) -> list[float]:
    return [record["loss"] for record in history]
