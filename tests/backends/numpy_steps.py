"""A step as NumPy computes it, beside the same step compiled to NumPy's calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from anynet.backends import select
from anynet.backends.base import Backend
from anynet.backends.numpy.blas import threads
from anynet.backends.numpy.step import CompiledStep
from anynet.tracing.trees import leaves, rebuilt


def both_ways(step: Any, state: Any, batches: Any) -> tuple[Any, Any]:
    """State and metrics after the plain loop, and after playing back, from the same start."""
    backend = select("numpy", "float64")
    own = rebuilt(state, iter([np.array(leaf) for leaf in leaves(state)]))
    # A thread more would cut a product in two, and round it differently.
    with threads(one=True):
        expected = Backend.run(backend, step, state, batches)
        actual = backend.run(step, own, batches)
    assert [type(made) for made in backend._known.values()] == [CompiledStep]
    return expected, actual


def assert_the_same(expected: Any, actual: Any, tolerance: float = 1e-12) -> None:
    """But for the order in which numbers are added up."""
    for one, other in zip(leaves(expected), leaves(actual), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def read(value: Any) -> Any:
    return lambda xp, state, batch: (state, {"m": value(state[0], batch[0])})
