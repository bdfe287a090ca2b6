"""A running mean of the weights is PyTorch's, goes where a model goes, and is a model of its own."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model
from anynet.backends import select
from anynet.errors import UsageError
from anynet.model import Checkpoints
from anynet.model.checkpoints import latest
from anynet.nn import EMA, SGD, Adam, BatchNorm, Linear, LinearDecay, MSELoss, Optimizer, Schedule, Sequential, Tanh
from anynet.training import Callback

X = np.linspace(-1, 1, 60).reshape(20, 3)
Y = X[:, :1] * X[:, 1:2]


def new_model(optimizer: Any, backend: str = BACKEND, *layers: Any) -> Model:
    network = Sequential(Linear(4), *layers, Tanh(), Linear(1))
    return Model(network, MSELoss(), optimizer, backend=backend, dtype="float64", seed=2)


def assert_equal(model: Model, expected: Model | dict[str, Any], rtol: float = 1e-9) -> None:
    arrays = expected.parameters if isinstance(expected, Model) else expected
    for name, array in arrays.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=rtol, err_msg=name)


def test_it_trains_as_the_optimizer_that_it_has_and_averages_every_step(backend_name: str) -> None:
    model, plain = (
        new_model(EMA(Adam(0.05, weight_decay=0.1), 0.75), backend_name),
        new_model(Adam(0.05, weight_decay=0.1)),
    )
    plain.build((3,))
    mean = plain.parameters

    class Mean(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            for name, array in model.parameters.items():
                mean[name] = 0.75 * mean[name] + 0.25 * array

    model.fit(X, Y, epochs=3, batch_size=8)
    plain.fit(X, Y, epochs=3, batch_size=8, debug=True, callbacks=[Mean()])
    assert_equal(model, plain)
    assert_equal(model.averaged(), mean)


@pytest.mark.needs("torch")
def test_the_mean_is_that_of_an_averaged_model_of_pytorch() -> None:
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    gradients = np.random.default_rng(5).normal(size=(20, 7))
    theirs = torch.nn.Linear(7, 1, bias=False, dtype=torch.float64)
    torch.nn.init.ones_(theirs.weight)
    block = np.ones((1, 7))
    averaged = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(theirs)
    peer = torch.optim.Adam(theirs.parameters(), lr=0.1)
    optimizer = EMA(Adam(0.1), decay=0.9)
    slots = optimizer.init(np, block)
    for gradient in gradients:
        theirs.weight.grad = torch.asarray(gradient[None].copy())
        peer.step()
        averaged.update_parameters(theirs)
        block, slots = optimizer.update(np, block, gradient[None].copy(), slots, np.asarray(0.1))
        np.testing.assert_allclose(block, theirs.weight.detach(), rtol=1e-12)
        np.testing.assert_allclose(slots["average"], averaged.module.weight.detach(), rtol=1e-12)


def test_it_goes_along_to_a_copy_and_to_another_backend_and_is_in_checkpoints(
    backend_name: str, tmp_path: Path
) -> None:
    class Stop(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            if model.epoch == 1:
                raise KeyboardInterrupt

    optimizer = EMA(SGD(LinearDecay(0.1, 9), momentum=0.9), 0.9)
    whole, killed, resumed = new_model(optimizer), new_model(optimizer), new_model(optimizer, backend_name)
    whole.fit(X, Y, epochs=3, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        killed.fit(X, Y, epochs=3, batch_size=8, callbacks=[Stop()], checkpoints=Checkpoints(tmp_path, every_steps=1))
    resumed.fit(X, Y, epochs=3, batch_size=8, resume=latest(tmp_path))
    for model in (resumed, copy.deepcopy(whole), whole.on(select(backend_name, "float64"))):
        assert_equal(model.averaged(), whole.averaged())


def test_in_the_middle_of_training_it_is_a_model_that_measures_and_is_saved(tmp_path: Path) -> None:
    """Its buffers are those of the model, and training goes on as if nobody had looked."""
    found: list[Any] = []

    class Measured(Callback):
        def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
            averaged = model.averaged()
            record["averaged_loss"] = averaged.evaluate(X, Y)["loss"]
            averaged.save(tmp_path / "averaged.safetensors")
            found.append((averaged, model.parameters))

    watched, alone = (new_model(EMA(Adam(0.05), 0.9), BACKEND, BatchNorm()) for _ in range(2))
    history = watched.fit(X, Y, epochs=4, batch_size=8, callbacks=[Measured()])
    alone.fit(X, Y, epochs=4, batch_size=8)
    assert_equal(watched, alone, rtol=0)
    averaged, parameters = found[-1]
    for name, array in averaged.parameters.items():
        assert (array == parameters[name]).all() == (name.endswith(("mean", "variance", "var"))), name
    loaded = Model.load(tmp_path / "averaged.safetensors", backend=BACKEND)
    assert loaded.optimizer == EMA(Adam(0.05), 0.9)
    assert loaded.evaluate(X, Y)["loss"] == history[-1]["averaged_loss"] != watched.evaluate(X, Y)["loss"]
    # A new optimizer state begins with the weights that were loaded.
    assert_equal(loaded.averaged(), loaded, rtol=0)


def test_one_that_is_not_elementwise_is_averaged_too(backend_name: str) -> None:
    @dataclass(frozen=True)
    class Normalized(Optimizer):
        lr: float | Schedule = 0.1
        elementwise = False

        def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
            block -= learning_rate * gradient / (xp.sqrt(xp.sum(gradient * gradient)) + 1e-9)
            return block, slots

    model, expected = new_model(EMA(Normalized(), 0.5), backend_name), new_model(EMA(Normalized(), 0.5), "strict")
    for one in (model, expected):
        one.fit(X, Y, epochs=2, batch_size=8)
    assert_equal(model.averaged(), expected.averaged())


def test_without_a_mean_or_with_two_it_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="the model has no weights yet"):
        new_model(EMA(Adam())).averaged()
    with pytest.raises(UsageError, match=r"keeps no mean of the weights: give it as EMA\(SGD\(lr=0.1"):
        new_model(SGD(0.1)).build((3,)).averaged()
    with pytest.raises(UsageError, match=r"EMA\(.*\) has a slot of the name average already"):
        new_model(EMA(EMA(SGD(0.1)))).build((3,))


def test_a_network_without_weights_is_its_own_mean() -> None:
    model = Model(Sequential(Tanh()), MSELoss(), EMA(Adam()), backend=BACKEND)
    model.fit(X, X)
    assert model.averaged().parameters == {}
