"""What is said of a training that has diverged: which weights are no longer finite, and at which learning rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import Model, nn
from anynet.model.divergence import diverged, not_finite

# Compiling takes JAX longer than all the others.
pytestmark = pytest.mark.backends("numpy", "strict", "torch", "cupy")

X = np.ones((4, 3))


def trained(backend: str, lr: Any = 0.25) -> Model:
    """A model after four steps."""
    model = Model(nn.Sequential(nn.BatchNorm(), nn.Linear(1)), nn.MSELoss(), nn.SGD(lr), backend=backend)
    model.fit(X, X[:, :1], batch_size=1)
    return model


def spoil(model: Model, name: str, value: float) -> None:
    """Put what `Model.put` would refuse."""
    spoilt = {key: np.where(key == name, np.float32(value), array) for key, array in model.parameters.items()}
    parameters, buffers = (
        tuple(model.backend.asarray(block, copy=True) for block in part) for part in model.layout.blocks(np, spoilt)
    )
    model.state = model.state._replace(parameters=parameters, buffers=buffers)


ADVICE = "training has diverged; try a smaller learning rate (it is 0.25), or standardise the inputs"


def test_where_all_weights_are_finite_none_is_named(backend_name: str) -> None:
    model = trained(backend_name)
    assert not_finite(model) == ""
    assert str(diverged(model, "the loss is high")) == f"the loss is high: {ADVICE}"


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("name", ["0.running_mean", "1.bias", "1.weight"])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_parameter_or_buffer_that_is_not_finite_is_named_once(name: str, value: float, backend_name: str) -> None:
    model = trained(backend_name)
    spoil(model, name, value)
    assert not_finite(model) == name
    assert str(diverged(model, "the loss is high")) == f"the loss is high, and so is {name}: {ADVICE}"
    assert str(diverged(model, f"{name} is high")) == f"{name} is high: {ADVICE}"


def test_the_learning_rate_of_a_schedule_is_that_of_the_last_step_or_of_an_earlier_one(backend_name: str) -> None:
    model = trained(backend_name, lambda xp, step: (step + 1) / 16)
    assert ADVICE in str(diverged(model, "the loss is high"))
    assert "(it is 0.125)" in str(diverged(model, "the loss is high", 3))
