"""One pure step, and the same numbers on every array library."""

from __future__ import annotations

import gc
import math
import weakref
from functools import partial
from typing import Any

import numpy as np
import pytest
from training.four_classes import CLASSES, data, losses, small_model

from anynet import nn
from anynet.backends import select
from anynet.backends.numpy import NumPyBackend
from anynet.checks import cases
from anynet.model import Model
from anynet.nn import SGD, CrossEntropyLoss, Linear, ReLU, Rescale, Sequential, Tanh
from anynet.nn.derived import value_of
from anynet.nn.losses import target_shape


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_backend_starts_alike_and_trains_to_the_same_numbers(backend_name: str, dtype: str) -> None:
    x, y = data()
    reference, model = small_model(dtype=dtype), small_model(backend_name, dtype)
    for name, array in reference.build((6,)).parameters.items():
        np.testing.assert_array_equal(model.build((6,)).parameters[name], array)
    expected = losses(reference.fit(x, y, epochs=5, batch_size=32))
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    np.testing.assert_allclose(losses(model.fit(x, y, epochs=5, batch_size=32)), expected, rtol=tolerance)
    for name, array in reference.parameters.items():
        assert model.parameters[name].dtype == dtype
        np.testing.assert_allclose(model.parameters[name], array, rtol=tolerance, atol=tolerance)


def test_the_same_seed_gives_identical_bytes(backend_name: str) -> None:
    x, y = data()
    runs = [small_model(backend_name, "float32") for _ in range(2)]
    for model in runs:
        model.fit(x, y, epochs=2, batch_size=16)
    first, second = (model.parameters for model in runs)
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_models_made_of_the_same_arrays_do_not_share_them(backend_name: str) -> None:
    x, y = data()
    first, second = (small_model(backend_name).build((6,)) for _ in range(2))
    arrays = first.parameters
    before = {name: array.copy() for name, array in arrays.items()}
    for model in (first, second):
        model._set((6,), model.layout, arrays)
    first.fit(x, y)
    for name, array in before.items():
        np.testing.assert_array_equal(arrays[name], array)
        np.testing.assert_array_equal(second.parameters[name], array)


@pytest.mark.parametrize("pack_limit", [0, 10, math.inf])
@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
def test_how_numbers_are_packed_changes_nothing(pack_limit: float, case: cases.OptimizerCase) -> None:
    class Packed(NumPyBackend):
        pass

    Packed.pack_limit = pack_limit
    x, y = data()
    network = Sequential(Rescale(0.5), Linear(7), Tanh(), Linear(CLASSES))
    expected, model = (
        Model(network, CrossEntropyLoss(), case.optimizer, backend=backend)
        for backend in (select("numpy", "float64"), Packed(dtype="float64"))
    )
    assert losses(expected.fit(x, y, epochs=3)) == pytest.approx(losses(model.fit(x, y, epochs=3)), rel=1e-12)
    for name, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-10)


def test_everything_packed_is_one_block() -> None:
    layout = nn.Layout(Sequential(Linear(3), Linear(2)), (4,), pack_limit=math.inf)
    parameters, buffers = layout.blocks(np, layout.initial(np, np.random.default_rng(0)))
    assert [block.shape for block in parameters] == [(4 * 3 + 3 + 3 * 2 + 2,)]
    assert buffers == ()


@pytest.mark.needs("torch")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_are_those_of_pytorch(dtype: str) -> None:
    import torch

    x, y = data(rows=64)
    model = small_model(dtype=dtype).build((6,))
    modules = [torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 5), torch.nn.Tanh(), torch.nn.Linear(5, 4)]
    peer = torch.nn.Sequential(*modules).to(getattr(torch, dtype))
    for name, parameter in peer.named_parameters():
        parameter.data = torch.asarray(np.ascontiguousarray(model.parameters[name].T))
    optimizer = torch.optim.SGD(peer.parameters(), lr=0.2, momentum=0.9)
    # One batch of all rows, so that their order does not matter.
    history = model.fit(x, y, epochs=20, batch_size=64)
    for record in history:
        loss = torch.nn.functional.cross_entropy(peer(torch.asarray(x.astype(dtype))), torch.asarray(y))
        assert record["loss"] == pytest.approx(float(loss.detach()), rel=1e-9 if dtype == "float64" else 1e-4)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.needs("jax")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_twenty_steps_are_those_of_jax_grad(dtype: str) -> None:
    import jax

    x, y = data(rows=64)
    model = small_model(dtype=dtype, optimizer=SGD(0.2)).build((6,))
    layout = nn.Layout(model.network, (6,), pack_limit=0)
    names = [entry.name for entry in layout.parameters]
    with jax.enable_x64(dtype == "float64"):
        blocks = tuple(jax.numpy.asarray(model.parameters[name]) for name in names)
        inputs, target = jax.numpy.asarray(x.astype(dtype)), jax.numpy.asarray(y.astype(np.int32))
        weight = jax.numpy.full(64, 1 / 64, dtype=dtype)

        def loss_of(blocks: Any) -> Any:
            p = layout.unpack(jax.numpy, blocks, ())
            prediction, _ = model.network.forward(jax.numpy, p, inputs, nn.Context(training=True))
            return value_of(model.loss, jax.numpy, prediction, target, weight)

        gradient = jax.jit(jax.value_and_grad(loss_of))
        for record in model.fit(x, y, epochs=20, batch_size=64):
            value, gradients = gradient(blocks)
            assert record["loss"] == pytest.approx(float(value), rel=1e-9 if dtype == "float64" else 1e-4)
            blocks = tuple(block - 0.2 * g for block, g in zip(blocks, gradients, strict=True))


@pytest.mark.needs("jax")
@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
@pytest.mark.parametrize("loss", [case.loss for case in cases.LOSSES], ids=repr)
def test_jax_traces_the_whole_training_step(case: cases.OptimizerCase, loss: Any) -> None:
    """What can be traced without a value can be captured in a CUDA graph."""
    import jax

    layers = (Rescale(1 / 255), nn.Flatten(), Linear(6), ReLU(), nn.LeakyReLU(), Linear(5), Tanh(), Linear(CLASSES))
    network = Sequential(*layers, nn.Softmax(), nn.Sigmoid()) if loss == nn.BCELoss() else Sequential(*layers)
    model = Model(network, loss, case.optimizer, backend="jax").build((2, 3))
    shape = (8,) if loss.target_kind == "class" else target_shape(loss, (8, CLASSES))
    target = np.zeros(shape, np.int32 if loss.target_kind == "class" else np.float32)
    batch = (np.zeros((8, 2, 3), np.uint8), target, np.full(8, 1 / 8, np.float32))
    step = partial(model._train.whole, model.backend.xp)
    jaxpr = jax.make_jaxpr(step)(model.state, tuple(map(model.backend.asarray, batch)))
    assert len(jaxpr.out_avals) == len(jax.tree.leaves(model.state)) + 1


@pytest.mark.needs("jax")
def test_jax_lets_a_models_compiled_steps_go_with_the_model() -> None:
    model = small_model("jax")
    model.fit(*data())
    step = weakref.ref(model._train.whole)
    del model
    gc.collect()
    assert step() is None


def test_a_model_with_a_users_own_backend_needs_no_name() -> None:
    assert small_model(backend=select("strict", "float64")).backend.name == "strict"


def test_the_numpy_namespace_gives_what_numpy_gives() -> None:
    xp = select("numpy").xp
    for x in (np.random.default_rng(0).normal(size=shape) for shape in ((5, 3), (200, 3), (200, 50), (7,), (2, 3, 4))):
        for axis in (None, 0, -1):
            for keepdims in (False, True):
                options = {"axis": axis, "keepdims": keepdims}
                np.testing.assert_allclose(xp.sum(x, **options), np.sum(x, **options), rtol=1e-12)
                np.testing.assert_array_equal(xp.max(x, **options), np.max(x, **options))
                assert xp.sum(x, **options).shape == np.sum(x, **options).shape
    x = np.random.default_rng(0).normal(size=(200, 3))
    np.testing.assert_array_equal(xp.sum(x > 0, axis=0), np.sum(x > 0, axis=0))
    np.testing.assert_array_equal(xp.stack([x, x], axis=1), np.stack([x, x], axis=1))
    np.testing.assert_array_equal(xp.matmul(np.ones((2, 3, 4)), np.ones((4, 5))), np.full((2, 3, 5), 4.0))
    np.testing.assert_array_equal(xp.matrix_transpose(x), np.matrix_transpose(x))
    np.testing.assert_array_equal(xp.reshape(x, (-1,)), np.reshape(x, (-1,)))
    copied = xp.astype(x, x.dtype)
    assert copied is not x
