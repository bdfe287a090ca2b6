"""One set of weights in several places of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import anynet
from anynet import Model
from anynet.distributed import run_threads
from anynet.errors import ShapeError, UsageError
from anynet.nn import SGD, Adam, BatchNorm, Concat, Frozen, Linear, MSELoss, Residual, Sequential, Shared, Tanh
from anynet.nn.containers import children, leaves

X = np.random.default_rng(0).normal(size=(24, 4))
TOWER = Shared(Linear(4), "tower")
NETWORK = Sequential(TOWER, Tanh(), Residual(TOWER), Linear(1))
NAMES = ["0.weight", "0.bias", "3.weight", "3.bias"]


def model(network: Any = NETWORK, optimizer: Any = None, **options: Any) -> Model:
    return Model(network, MSELoss(), optimizer or Adam(0.01, weight_decay=0.1), **{"dtype": "float64"} | options)


def test_the_weights_are_there_once() -> None:
    built = model().build((4,))
    assert list(built.parameters) == NAMES
    assert [row.parameters for row in built.summary().rows] == [20, 0, 20, 20, 5, 25]
    assert "25 parameters (25 trainable)" in repr(built)


@pytest.mark.needs("torch")
def test_gradients_are_those_of_one_module_of_pytorch_that_is_called_twice() -> None:
    import torch

    built = model().build((4,))
    tower, last = torch.nn.Linear(4, 4), torch.nn.Linear(4, 1)
    tensors = tower.weight, tower.bias, last.weight, last.bias
    for name, tensor in zip(NAMES, tensors, strict=True):
        tensor.data = torch.asarray(built.parameters[name].T.copy())
    h = torch.tanh(tower(torch.asarray(X)))
    (last(tower(h) + h) - torch.asarray(X[:, :1])).square().mean().backward()
    found = built.gradients(X, X[:, :1])
    for name, tensor in zip(NAMES, tensors, strict=True):
        assert tensor.grad is not None
        np.testing.assert_allclose(found[name], tensor.grad.numpy().T, rtol=1e-10, atol=1e-12)


def test_every_backend_trains_them_to_the_same_numbers(backend_name: str) -> None:
    models = [model(backend=name) for name in ("numpy", backend_name)]
    losses = [[record["loss"] for record in one.fit(X, X[:, :1], epochs=4, batch_size=10)] for one in models]
    np.testing.assert_allclose(*losses, rtol=1e-9)
    np.testing.assert_allclose(*(one.predict(X) for one in models), rtol=1e-7)


# On CuPy both are on one GPU, where NCCL cannot link them.
@pytest.mark.filterwarnings("ignore:ranks sum through the host")
def test_two_ranks_train_them_to_the_numbers_of_one() -> None:
    def trained(comm: Any) -> Any:
        one = model(comm=comm)
        one.fit(X, X[:, :1], epochs=3, batch_size=8)
        return one.predict(X)

    for found in run_threads(2, trained):
        np.testing.assert_allclose(found, trained(None), rtol=1e-9)


def test_a_saved_network_has_them_once_and_goes_on_the_same_way(tmp_path: Any) -> None:
    first = model()
    first.fit(X, X[:, :1], epochs=2)
    first.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.network == NETWORK
    assert list(loaded.parameters) == NAMES
    np.testing.assert_array_equal(loaded.predict(X), first.predict(X))


def test_a_buffer_becomes_the_mean_of_what_it_would_at_each_place() -> None:
    norm = Shared(BatchNorm(momentum=1.0), "norm")
    one = model(Concat(norm, Sequential(Tanh(), norm)), SGD(0.1))
    one.fit(X, np.zeros((len(X), 8)), batch_size=len(X))
    expected = (X.mean(axis=0) + np.tanh(X).mean(axis=0)) / 2
    np.testing.assert_allclose(one.parameters["0.running_mean"], expected)


def test_frozen_in_all_places_they_stay() -> None:
    frozen = Frozen(TOWER)
    one = model(Sequential(frozen, Frozen(Sequential(TOWER)), Linear(1))).build((4,))
    before = one.parameters
    one.fit(X, X[:, :1])
    assert list(before) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    changed = [name for name, array in one.parameters.items() if (array != before[name]).any()]
    assert changed == ["2.weight", "2.bias"]


def test_one_inside_another_and_those_inside_a_container_are_found() -> None:
    both = Shared(Sequential(TOWER, Tanh()), "both")
    assert anynet.gradcheck(Sequential(both, TOWER, both), (4,)).error < 1e-7
    assert len(model(Sequential(both, TOWER, both)).build((4,)).parameters) == 2
    assert children(both) == (("0", Shared(TOWER, "both.0")), ("1", Shared(Tanh(), "both.1")))
    assert [path for path, _ in leaves(Sequential(both))] == [("0", "0"), ("0", "1")]
    assert list(model(Sequential(both)).activations(X)) == ["0.0", "0.1"]


@pytest.mark.host
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Shared(Linear, "a"), UsageError, "the layer to be Shared is"),
        (lambda: Shared(Linear(3), 1), UsageError, r"Shared needs a name, such as .*, but got 1"),  # type: ignore[arg-type]
        (
            lambda: model(Sequential(Shared(Linear(3), "a"), Shared(Linear(3), "a"))).build((4,)),
            ShapeError,
            r"0 and 1 are Shared as 'a', but their weights have the shapes .*4, 3.* and .*3, 3.*: give both",
        ),
        (
            lambda: model(Sequential(TOWER, Frozen(TOWER))).build((4,)),
            UsageError,
            "0 and 1 are Shared as 'tower', but differ in how weights start, or are trained: give both the same layer",
        ),
        (
            lambda: model(Sequential(TOWER, Shared(Sequential(Linear(4)), "tower"))).build((4,)),
            ShapeError,
            "0 and 1 are Shared as 'tower', but their weights",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(make: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        make()
