"""A small model with data to train it on, and what happens to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from chosen import BACKEND

from anynet import Model, nn
from anynet.training import Callback

ROWS = 256
X = np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
EVENTS = ("on_fit_begin", "on_batches_end", "on_epoch_end", "on_fit_end")


def new_model(backend: str = BACKEND, optimizer: Any = None) -> Model:
    network = nn.Sequential(nn.Linear(16), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), nn.Linear(2))
    return Model(network, nn.CrossEntropyLoss(), optimizer or nn.Adam(0.01), backend=backend)


def contents(model: Model) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in model.parameters.items()}


class Call(Callback):
    """Calls a function at one of a training's events."""

    def __init__(self, event: str, function: Callable[[Model], Any]) -> None:
        setattr(self, event, lambda model, *_: function(model))
