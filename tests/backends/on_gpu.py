"""What the tests of CuPy share: a model, and data to train it on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.nn import SGD, CrossEntropyLoss, Linear, ReLU, Sequential

X = np.random.default_rng(0).normal(size=(70, 5))
Y = (X.sum(axis=1) > 0).astype(np.int64)

on_a_gpu = pytest.mark.needs("cupy")


def model_on(backend: Any, optimizer: Any = None) -> Model:
    network = Sequential(Linear(6), ReLU(), Linear(2))
    return Model(network, CrossEntropyLoss(), optimizer or SGD(0.1, momentum=0.9), backend=backend)
