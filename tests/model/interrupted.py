"""Small models to train, to stop anywhere, and to hold against one that was never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from chosen import BACKEND

from anynet import Model
from anynet.model import Checkpoints
from anynet.nn import SGD, Adam, BatchNorm, Dropout, LayerNorm, Linear, LinearDecay, MSELoss, ReLU, Sequential, Tanh

ROWS = 50
X = np.random.default_rng(0).normal(size=(ROWS, 3))
Y = np.sin(X).sum(axis=1, keepdims=True)
VALIDATION = X[:20] + 0.1, Y[:20]

NETWORKS = {
    "plain": lambda: Sequential(Linear(6), Tanh(), Linear(1)),
    "normalised": lambda: Sequential(BatchNorm(), Linear(6), LayerNorm(), ReLU(), Linear(1)),
    "dropping": lambda: Sequential(Linear(8), Dropout(0.4), ReLU(), Sequential(Dropout(0.1), Linear(1))),
}
OPTIMIZERS = {
    "SGD": lambda: SGD(0.01),
    "Nesterov, decaying": lambda: SGD(LinearDecay(0.005, 90), momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda: Adam(0.01, weight_decay=0.1),
}


def new_model(backend: str = BACKEND, network: str = "normalised", optimizer: str = "Adam", seed: int = 1) -> Model:
    parts = NETWORKS[network](), MSELoss(), OPTIMIZERS[optimizer]()
    return Model(*parts, backend=backend, dtype="float64", seed=seed)


def fit(model: Model, **options: Any) -> list[dict[str, float]]:
    weight = np.random.default_rng(1).uniform(0.5, 2.0, ROWS)
    return model.fit(
        X, Y, **{"epochs": 3, "batch_size": 8, "sample_weight": weight, "validation_data": VALIDATION, **options}
    )


def losses(history: list[dict[str, float]]) -> list[tuple[float, float]]:
    return [(record["loss"], record["val_loss"]) for record in history]


class KeepAll(Checkpoints):
    """Writes each checkpoint to a file of its own, after so many steps."""

    def __init__(self, folder: Path, every_steps: int = 1) -> None:
        super().__init__(folder, every_seconds=1e9, every_steps=every_steps, keep=10_000)


def assert_same(model: Model, reference: Model, tolerance: float = 0.0) -> None:
    for name, array in reference.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=tolerance, atol=tolerance)
