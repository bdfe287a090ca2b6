"""Steps as a backend compiles them, held to what their operations do one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.backends import select
from anynet.backends.numpy.step import CompiledStep
from anynet.checks import cases
from anynet.model import Model
from anynet.tracing import trace_step
from anynet.tracing.trees import leaves, rebuilt

compiling = pytest.mark.backends("numpy", "cupy")
ROWS = 7
A, B = np.arange(1.0, 13.0).reshape(3, 4), np.arange(12.0).reshape(3, 4) - 5


def of(change: Callable[[Any, Any, Any], Any]) -> Any:
    return lambda xp, state, batch: (change(xp, state, batch[0]), {"m": batch[0] * 1.0})


def model_and_batch(
    network: Any,
    shape: Any,
    loss: Any = None,
    optimizer: Any = None,
    rows: int = ROWS,
    dtype: str = "float64",
    backend: str = "numpy",
) -> Any:
    loss = loss or nn.MSELoss()
    model = Model(network, loss, optimizer or nn.SGD(0.1), backend=backend, dtype=dtype)
    model.backend.pack_limit = np.inf  # type: ignore[misc]
    model.build(shape)
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.9, (rows, *shape)).astype(dtype)
    target = cases.draw_target(generator, loss, (rows, *model.layout.out_shape))
    return model, (x, target, np.full(rows, 1 / rows, dtype))


def compiled(backend: Any, step: Any, state: Any, batch: Any) -> Callable[[Any, Any], Any]:
    """The step on one batch, as the backend makes it of its program."""
    program = trace_step(step, backend.xp, state, batch, backend.device)
    if backend.name == "numpy":
        calls = CompiledStep(program)
        return lambda state, batch: calls.run(state, tuple(x[None] for x in batch))
    from anynet.backends.cupy.step import FusedStep

    return functools.partial(FusedStep(program, backend._products), backend.xp)


def assert_compiled_is_the_step(
    backend_name: str, step: Any, state: Any, batch: Any, tolerance: float = 1e-12, reuse: int = 2
) -> None:
    """Compare so many steps with the plain ones, on the same arrays, whose rows change places after each."""
    backend = select(backend_name, "float64")
    own, plain = (rebuilt(state, (backend.xp.asarray(x, copy=True) for x in leaves(state))) for _ in range(2))
    arrays = tuple(map(backend.xp.asarray, batch))
    with backend.scope():
        one_step = compiled(backend, step, own, arrays)
        for _ in range(reuse):
            own, metrics = one_step(own, arrays)
            plain, expected = step(backend.xp, plain, arrays)
            assert metrics.keys() == expected.keys()
            found = [*leaves(own), *(backend.xp.reshape(metrics[name], x.shape) for name, x in expected.items())]
            for one, other in zip(found, [*leaves(plain), *expected.values()], strict=True):
                assert (one.shape, one.dtype) == (other.shape, other.dtype)
                np.testing.assert_allclose(
                    backend.to_numpy(one), backend.to_numpy(other), rtol=tolerance, atol=tolerance
                )
            arrays = tuple(backend.xp.asarray(x[::-1, ...] if x.ndim else x, copy=True) for x in arrays)
