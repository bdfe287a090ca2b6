"""Gradients of several batches, added up for one update."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.distributed import run_threads
from anynet.errors import UsageError
from anynet.nn import SGD, BatchNorm, Dropout, Linear, MSELoss, ReLU, Sequential

RANDOM = np.random.default_rng(0)
# Two updates of 48 rows and one of 22 in an epoch.
X, Y = RANDOM.normal(size=(118, 5)), RANDOM.normal(size=(118, 2))
PLAIN = Sequential(Linear(8), Dropout(0.3), ReLU(), Linear(2))
NORMALIZED = Sequential(Linear(8), BatchNorm(), ReLU(), Dropout(0.3), Linear(2))


def weights(network: Any, backend: str = "numpy", comm: Any = None, **options: Any) -> dict[str, Any]:
    model = Model(network, MSELoss(), SGD(0.05, momentum=0.9), backend=backend, dtype="float64", comm=comm)
    model.fit(X, Y, epochs=4, **options)
    return model.parameters


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-12)


def test_they_are_the_gradient_of_one_large_batch(backend_name: str) -> None:
    expected = weights(PLAIN, batch_size=48)
    assert_equal(weights(PLAIN, backend_name, batch_size=16, accumulate=3), expected)


def test_batch_normalization_uses_each_small_batch_on_every_backend(backend_name: str) -> None:
    expected = weights(NORMALIZED, batch_size=16, accumulate=3)
    assert_equal(weights(NORMALIZED, backend_name, batch_size=16, accumulate=3), expected)
    assert np.abs(weights(NORMALIZED, batch_size=48)["0.weight"] - expected["0.weight"]).max() > 1e-6


@pytest.mark.host
@pytest.mark.parametrize("network", [PLAIN, NORMALIZED], ids=["plain", "normalized"])
def test_ranks_divide_each_small_batch(network: Any) -> None:
    expected = weights(network, batch_size=16, accumulate=3)
    for found in run_threads(2, lambda comm: weights(network, comm=comm, batch_size=16, accumulate=3)):
        assert_equal(found, expected)


@pytest.mark.host
def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="accumulate must be a whole number"):
        weights(PLAIN, accumulate=0)
