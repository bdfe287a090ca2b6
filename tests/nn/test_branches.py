"""Containers whose layers are all given the same, and layers that only change the shape, or call a function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.model import Model
from anynet.nn import BatchNorm, Concat, Context, Dropout, Flatten, Frozen, Linear, ReLU, Rescale, Residual, Sequential
from anynet.nn.containers import children, leaves

X = np.random.default_rng(0).normal(size=(40, 4))


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Residual(ReLU()), (False, False, False)),
        (Residual(ReLU(), Linear(3)), (True, False, False)),
        (Residual(Sequential()), (False, False, False)),
        (Residual(ReLU(), Sequential()), (False, False, False)),
        (Concat(Dropout(0.5), ReLU()), (False, True, False)),
        (Concat(ReLU(), Residual(BatchNorm())), (True, False, True)),
        (Frozen(Concat(Linear(1), BatchNorm(), Dropout(0.5))), (False, False, False)),
    ],
    ids=repr,
)
def test_they_are_what_the_layers_in_them_are(layer: Any, told: Any) -> None:
    assert (layer.trainable, layer.stochastic, layer.updates_buffers) == told
    assert anynet.gradcheck(layer, (3,)).error < 1e-7


def test_the_layers_in_them_are_found() -> None:
    network = Frozen(Concat(Linear(2), Residual(ReLU(), Linear(3))))
    assert [name for name, _ in children(network)] == ["0", "1"]
    assert [path for path, _ in leaves(network)] == [("0",), ("1", "layer"), ("1", "shortcut")]
    assert children(Residual(ReLU())) == (("layer", ReLU()),)


def test_no_gradient_is_carried_below_them_and_only_where_something_trains() -> None:
    class Below(nn.Tanh):
        def backward(self, *arguments: Any) -> Any:
            raise AssertionError("a gradient was computed for nothing")

    for layer in (Concat(Below(), Linear(2), Below()), Residual(Below(), Linear(4)), Residual(Linear(4), Below())):
        network = Sequential(Below(), layer)
        _, shape = network.parameters((4,))
        anynet.Model(network, nn.MSELoss(), nn.SGD(0.1)).fit(X, np.zeros((len(X), *shape)))


NETWORK = Sequential(
    Residual(Sequential(Linear(4), BatchNorm(), ReLU(), Dropout(0.3))),
    Concat(Linear(2), Frozen(Residual(Linear(3), Linear(3))), Dropout(0.2)),
    nn.Reshape((3, 3)),
    nn.Lambda(lambda xp, x: xp.sin(x)[:, ::-1]),
    Flatten(),
    Linear(1),
)


def test_every_backend_trains_them_to_the_same_numbers(backend_name: str) -> None:
    models = [
        Model(NETWORK, nn.MSELoss(), nn.Adam(0.01), backend=name, dtype="float64") for name in ("numpy", backend_name)
    ]
    losses = [[record["loss"] for record in model.fit(X, X[:, :1], epochs=4, batch_size=15)] for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    np.testing.assert_allclose(*(model.predict(X) for model in models), rtol=1e-7)


def test_running_statistics_in_a_branch_are_updated() -> None:
    model = Model(Residual(BatchNorm(momentum=1.0)), nn.MSELoss(), nn.SGD(0.1), dtype="float64")
    model.fit(X, X, batch_size=40)
    np.testing.assert_allclose(model.parameters["layer.running_mean"], X.mean(axis=0))


def test_a_function_cannot_be_saved(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"Lambda\(.*cannot be written to a file, which holds no code: write a class"):
        Model(NETWORK, nn.MSELoss(), nn.SGD(0.1)).build((4,)).save(tmp_path / "model")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (Concat, UsageError, "Concat needs at least one layer, such as"),
        (lambda: Concat([ReLU()]), UsageError, r"Concat takes its layers one by one: Concat\(\*layers\)"),
        (lambda: Concat(ReLU(), 3), UsageError, "layer 1 of Concat is 3, which is no layer"),
        (lambda: Concat(Flatten(), ReLU()).parameters((2, 3)), ShapeError, r"only that may differ.*\(6,\), \(2, 3\)"),
        (lambda: Concat(ReLU()).parameters(()), ShapeError, "Concat joins outputs along the last axis"),
        (lambda: Residual(ReLU), UsageError, r"the layer of Residual is .* make one, as in ReLU\(...\)"),
        (lambda: Residual(ReLU(), 3), UsageError, "the shortcut of Residual is 3, which is no layer"),
        (lambda: Residual(Linear(3)).parameters((4,)), ShapeError, r"gives shape \(3,\), which cannot .* to \(4,\)"),
        (
            lambda: Residual(ReLU(), Sequential(Rescale((1, 2)))).parameters((3,)),
            ShapeError,
            r"^the shortcut \(Sequential\): layer 0 \(Rescale\): ",
        ),
        (lambda: nn.Reshape((-1,)), ShapeError, "must be a tuple of whole numbers"),
        (lambda: nn.Reshape((4,)).parameters((3,)), ShapeError, r"shape \(4,\) of samples of shape \(3,\)"),
        (lambda: nn.Lambda(3), UsageError, "Lambda takes a function, called as function"),
        (lambda: nn.Lambda(lambda xp, x: xp.sum(x)).parameters((3,)), ShapeError, "keep the batch axis"),
        (lambda: nn.Lambda(lambda xp, x: 3).parameters((3,)), UsageError, "returns an array, but it returned 3"),
        (lambda: nn.Lambda(lambda xp, x: float(x[0, 0])).parameters((3,)), UsageError, "an array's value, as bool"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(make: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_function_draws_its_gradient_from_what_it_computes(backend_name: str) -> None:
    layer = nn.Lambda(lambda xp, x: xp.exp(-x) * xp.sum(x, axis=-1, keepdims=True))
    assert anynet.gradcheck(layer, (3,), backend=backend_name).error < 1e-7
    y, _ = layer.forward(np, {}, X, Context())
    np.testing.assert_allclose(y, np.exp(-X) * X.sum(axis=1, keepdims=True))
