"""Do backends agree? Every layer, loss and optimizer, and a whole training curve, computed on each and compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from anynet.backends import Backend, select
from anynet.checks import cases
from anynet.model.model import Model
from anynet.nn import SGD, Context, CrossEntropyLoss, Layout, Linear, Sequential, Tanh
from anynet.nn.derived import value_and_gradient
from anynet.nn.layout import by_name
from anynet.tracing.trees import over_dicts
from anynet.training.inputs import flat, unflat

# For one operation, and for a training curve, as a share of the largest number compared (at least 1).
TOLERANCES = {"float64": (1e-12, 1e-9), "float32": (1e-5, 1e-4)}
SAMPLES = 7


class Difference(NamedTuple):
    """The largest difference of one quantity between a backend and the reference."""

    subject: str
    quantity: str
    dtype: str
    backend: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance


def parity(backends: list[str], dtypes: tuple[str, ...] = ("float64", "float32")) -> Iterator[Difference]:
    """Compare each backend with the first one, quantity by quantity.

    >>> all(row.agrees for row in parity(["numpy", "numpy"], ("float64",)))
    True
    """
    for dtype in dtypes:
        step_tolerance, curve_tolerance = TOLERANCES[dtype]
        reference, *others = [select(name, dtype) for name in backends]
        for subject, compute in _subjects():
            expected = compute(reference)
            for name, other in zip(backends[1:], others, strict=True):
                found = compute(other)
                for quantity, array in expected.items():
                    tolerance = curve_tolerance if quantity == "curve" else step_tolerance
                    difference = _difference(found[quantity], array)
                    yield Difference(subject, quantity, dtype, name, difference, tolerance)


def _difference(found: Any, expected: Any) -> float:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    difference = np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0))
    return float(np.nan_to_num(difference, nan=np.inf))


def _subjects() -> Iterator[tuple[str, Any]]:
    for layer_case in (*cases.LAYERS, *cases.WITH_NAMED_INPUTS):
        yield layer_case.name, lambda backend, case=layer_case: _layer(backend, case)
    for loss_case in cases.LOSSES:
        yield loss_case.name, lambda backend, case=loss_case: _loss(backend, case)
    for optimizer_case in cases.OPTIMIZERS:
        yield optimizer_case.name, lambda backend, case=optimizer_case: _optimizer(backend, case)
    yield "training", _curve


def _layer(backend: Backend, case: cases.LayerCase) -> dict[str, Any]:
    """Output, and all gradients as one row, computed in one step of ``backend.run``."""
    generator = np.random.default_rng(0)
    layout = Layout(case.layer, case.shape, backend.pack_limit)
    blocks = layout.blocks(np, layout.initial(np, generator))
    state = tuple(tuple(backend.asarray(block, copy=True) for block in part) for part in blocks)
    x = over_dicts(lambda shape: generator.normal(0.0, 1.0, (1, SAMPLES, *shape)), case.shape)
    dy = generator.normal(0.0, 1.0, (1, SAMPLES, *layout.out_shape))

    def step(xp: Any, state: Any, batch: Any) -> Any:
        p = layout.unpack(xp, *state)
        given, dy = unflat(case.layer.indices, batch)
        y, saved = case.layer.forward(xp, p, given, Context(training=True, scan=backend.scan))
        dx, gradients = case.layer.backward(xp, p, saved, dy * 1.0)
        return state, {"output": y, **by_name({"x": dx, **gradients})}

    return _as_output_and_gradient(backend, backend.run(step, state, tuple(map(backend.asarray, (*flat(x), dy))))[1])


def _loss(backend: Backend, case: cases.LossCase) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shape = (SAMPLES, *case.shape)
    drawn = (
        cases.draw_input(generator, case.loss, shape),
        cases.draw_target(generator, case.loss, shape),
        cases.draw_weight(generator, SAMPLES),
    )

    def step(xp: Any, state: Any, batch: Any) -> Any:
        value, gradient = value_and_gradient(case.loss, xp, *batch)
        return state, {"output": value, "prediction": gradient}

    batches = tuple(backend.asarray(array[None]) for array in drawn)
    return _as_output_and_gradient(backend, backend.run(step, (), batches)[1])


def _as_output_and_gradient(backend: Backend, metrics: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: backend.to_numpy(array) for name, array in metrics.items()}
    output = arrays.pop("output")
    return {"output": output, "gradient": np.concatenate([arrays[name].ravel() for name in sorted(arrays)])}


def _optimizer(backend: Backend, case: cases.OptimizerCase) -> dict[str, Any]:
    """The weights of a small network after ten steps."""
    return {"update": np.concatenate([a.ravel() for a in _trained(backend, case.optimizer, epochs=2)[0]])}


def _curve(backend: Backend) -> dict[str, Any]:
    """The loss of each of 40 epochs of 5 steps."""
    return {"curve": np.asarray(_trained(backend, SGD(lr=0.2, momentum=0.9), epochs=40)[1])}


def _trained(backend: Backend, optimizer: Any, epochs: int) -> tuple[list[Any], list[float]]:
    # No ReLU here: a rounding error may switch a neuron on or off, which changes a float32 curve by far more.
    generator = np.random.default_rng(0)
    x = generator.normal(0.0, 1.0, (40, 6))
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int32)
    model = Model(Sequential(Linear(16), Tanh(), Linear(2)), CrossEntropyLoss(), optimizer, backend=backend)
    history = model.fit(x, y, epochs=epochs, batch_size=8)
    return list(model.parameters.values()), [record["loss"] for record in history]
