"""Layers that are one thing in training and another after it: their statistics, and what they draw."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from anynet import Model
from anynet.backends import select
from anynet.nn import SGD, Adam, BatchNorm, Context, Dropout, LayerNorm, Linear, MSELoss, ReLU, Sequential
from anynet.nn.dropout import random_bits

X = np.random.default_rng(0).normal(2.0, 3.0, (64, 4))
Y = X.sum(axis=1, keepdims=True)


def model_on(backend: Any, *layers: Any, seed: int = 0) -> Model:
    return Model(Sequential(*layers), MSELoss(), SGD(0.01, momentum=0.9), backend=backend, dtype="float64", seed=seed)


@pytest.mark.needs("torch")
def test_running_statistics_are_those_of_pytorch(backend_name: str) -> None:
    import torch

    model = model_on(backend_name, BatchNorm(), Linear(1))
    model.fit(X, Y, batch_size=64, epochs=3)
    module = torch.nn.BatchNorm1d(4).double()
    for _ in range(3):
        module(torch.asarray(X))
    for name in ("running_mean", "running_var"):
        np.testing.assert_allclose(model.parameters[f"0.{name}"], getattr(module, name), rtol=1e-9)


def test_what_has_been_trained_normalises_by_its_running_statistics(backend_name: str) -> None:
    model = model_on(backend_name, BatchNorm(momentum=1.0))
    model.build((4,))
    model.fit(X, X, batch_size=64)
    p = {name.removeprefix("0."): array for name, array in model.parameters.items()}
    expected = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0, ddof=1) + 1e-5) * p["weight"] + p["bias"]
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X[:1]), expected[:1], rtol=1e-9)


LAYERS = (Linear(16), BatchNorm(), ReLU(), Dropout(0.3), Sequential(Linear(8), LayerNorm(), Dropout(0.2)), Linear(1))


def test_every_backend_drops_the_same_and_trains_to_the_same_numbers(backend_name: str) -> None:
    histories = [model_on(name, *LAYERS).fit(X, Y, epochs=5, batch_size=20) for name in ("numpy", backend_name)]
    losses = [[record["loss"] for record in history] for history in histories]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_another_seed_drops_others(backend_name: str) -> None:
    first, second = (model_on(backend_name, Dropout(0.5), Linear(1), seed=seed) for seed in (0, 1))
    arrays = first.build((4,)).parameters
    losses = [m.build((4,), arrays).fit(X, Y, batch_size=64)[0]["loss"] for m in (first, second)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_so_many_are_dropped_each_step_others_and_the_mean_stays(p: float) -> None:
    x = np.ones((1000, 100))
    dropped = [
        Dropout(p).forward(np, {}, x, Context(training=True, seed=3, step=np.asarray(step, np.int32)))[0]
        for step in (1, 2)
    ]
    for y in dropped:
        assert (y == 0).mean() == pytest.approx(p, abs=0.01)
        assert y.mean() == pytest.approx(1, abs=0.05)
    assert np.mean((dropped[0] == 0) & (dropped[1] == 0)) == pytest.approx(p * p, abs=0.01)


def test_the_bits_drawn_are_the_same_on_every_library_and_evenly_spread(backend_name: str) -> None:
    backend = select(backend_name)
    like = backend.asarray(np.zeros((300, 100), np.float32))
    step = backend.asarray(np.asarray(2**31 - 1, np.int32))
    with backend.scope():
        bits = backend.to_numpy(random_bits(backend.xp, like, Context(seed=123456789, step=step)))
    step = np.asarray(2**31 - 1, np.int32)
    expected = random_bits(np, np.zeros((300, 100), np.float32), Context(seed=123456789, step=step))
    np.testing.assert_array_equal(bits, expected)
    counts, _ = np.histogram(expected, bins=64, range=(0, 2**31))
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 110
    for bit in range(31):
        assert ((expected >> bit) & 1).mean() == pytest.approx(0.5, abs=0.012)


def test_a_pickled_model_trains_on_as_if_it_had_never_been_put_away(backend_name: str) -> None:
    model = Model(Sequential(*LAYERS), MSELoss(), Adam(0.01), backend=backend_name, dtype="float64", seed=5)
    model.fit(X, Y, epochs=2)
    again = pickle.loads(pickle.dumps(model))
    assert again.backend.name == "numpy"
    losses = [[record["loss"] for record in m.fit(X, Y, epochs=2)] for m in (model, again)]
    np.testing.assert_allclose(*losses, rtol=1e-9)
