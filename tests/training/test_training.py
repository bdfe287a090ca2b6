"""What training promises: one pure step, the same numbers everywhere, and nothing lost on the way."""

from __future__ import annotations

import gc
import math
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

import anynet
from anynet import nn
from anynet.backends import select
from anynet.backends.numpy import NumPyBackend
from anynet.checks import cases
from anynet.model import Model
from anynet.nn import SGD, BCEWithLogitsLoss, CrossEntropyLoss, Linear, MSELoss, ReLU, Rescale, Sequential, Tanh
from anynet.training import Callback, StopTraining

CLASSES = 4


def data(rows: int = 100, columns: int = 6) -> tuple[Any, Any]:
    generator = np.random.default_rng(11)
    x = generator.normal(size=(rows, columns))
    return x, (x[:, :CLASSES].argmax(axis=1)).astype(np.int64)


def small_model(backend: Any = BACKEND, dtype: str = "float64", optimizer: Any = None, seed: int = 3) -> Model:
    network = Sequential(Linear(8), ReLU(), Linear(5), Tanh(), Linear(CLASSES))
    return Model(network, CrossEntropyLoss(), optimizer or SGD(0.2, 0.9), backend=backend, dtype=dtype, seed=seed)


def losses(history: list[dict[str, float]]) -> list[float]:
    return [record["loss"] for record in history]


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


def test_another_seed_gives_other_weights() -> None:
    first, second = (small_model(seed=seed).build((6,)).parameters for seed in (0, 1))
    assert (first["0.weight"] != second["0.weight"]).all()


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
            return model.loss(jax.numpy, prediction, target, weight)[0]

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
    target = np.zeros(8, np.int32) if loss.target_kind == "class" else np.zeros((8, CLASSES), np.float32)
    batch = (np.zeros((8, 2, 3), np.uint8), target, np.full(8, 1 / 8, np.float32))
    step = partial(model._train, model.backend.xp)
    jaxpr = jax.make_jaxpr(step)(model.state, tuple(map(model.backend.asarray, batch)))
    assert len(jaxpr.out_avals) == len(jax.tree.leaves(model.state)) + 1


def test_weight_decay_shrinks_weights_before_the_step_and_spares_biases() -> None:
    x, y = data()
    network = Sequential(Linear(CLASSES))
    plain, decayed = (
        Model(network, CrossEntropyLoss(), SGD(0.1, weight_decay=decay), dtype="float64").build((6,))
        for decay in (0.0, 0.5)
    )
    before = plain.parameters
    plain.fit(x, y, batch_size=100)
    decayed.fit(x, y, batch_size=100)
    np.testing.assert_allclose(
        decayed.parameters["0.weight"], plain.parameters["0.weight"] - 0.1 * 0.5 * before["0.weight"], rtol=1e-12
    )
    np.testing.assert_array_equal(decayed.parameters["0.bias"], plain.parameters["0.bias"])


def test_a_schedule_sets_the_learning_rate_of_each_step(backend_name: str) -> None:
    x = np.ones((4, 1))
    schedule = nn.LinearDecay(0.1, steps=4)
    model = Model(Linear(1, nn.Values([[0.0]])), nn.HalfMSELoss(), SGD(schedule), backend=backend_name, dtype="float64")
    weight, bias = 0.0, 0.0
    for rate in (0.1, 0.075, 0.05, 0.025):
        error = weight + bias - 1
        weight, bias = weight - rate * error, bias - rate * error
    model.fit(x, x, batch_size=1)
    assert float(model.parameters["weight"][0, 0]) == pytest.approx(weight, rel=1e-12)


def test_the_last_shorter_batch_is_trained_on_too(backend_name: str) -> None:
    x = np.zeros((5, 1))
    x[:, 0] = [0, 0, 0, 0, 1]
    model = Model(Linear(1, nn.Values([[0.0]])), MSELoss(), SGD(0.5), backend=backend_name, dtype="float64")
    seen: list[int] = []

    class Count(Callback):
        def on_batches_end(self, model: Model, samples: int) -> None:
            seen.append(samples)

    history = model.fit(x, x, batch_size=2, callbacks=[Count()])
    assert sum(seen) == 5
    assert seen[-1] == 1
    assert history[0]["loss"] > 0
    assert model.parameters["weight"] != 0


def test_the_loss_of_an_epoch_is_the_mean_over_its_samples() -> None:
    x = np.ones((5, 1))
    y = np.arange(5.0)
    model = Model(Linear(1, nn.Values([[0.0]])), MSELoss(), SGD(1e-30), dtype="float64")
    assert model.fit(x, y, batch_size=2)[0]["loss"] == pytest.approx(np.mean(y**2))


def test_sample_weights_act_as_repeated_samples(backend_name: str) -> None:
    x, y = data(rows=6)
    weight = np.asarray([1.0, 2, 1, 3, 1, 0])
    rows = np.repeat(np.arange(6), weight.astype(int))
    weighted, repeated = small_model(backend_name), small_model(backend_name)
    weighted.fit(x, y, batch_size=6, sample_weight=weight)
    repeated.fit(x[rows], y[rows], batch_size=8)
    for name, array in weighted.parameters.items():
        np.testing.assert_allclose(array, repeated.parameters[name], rtol=1e-11, atol=1e-13)
    assert weighted.evaluate(x, y, weight) == pytest.approx(repeated.evaluate(x[rows], y[rows]))


def test_the_loss_of_an_epoch_counts_samples_by_their_weight() -> None:
    x, y = np.ones((10, 1)), np.arange(10.0)
    weight = np.repeat([0.0, 1.0], [8, 2])
    model = Model(Linear(1, nn.Values([[0.0]])), MSELoss(), SGD(1e-30), dtype="float64")
    history = model.fit(x, y, batch_size=1, sample_weight=weight)
    assert history[0]["loss"] == pytest.approx((8**2 + 9**2) / 2)


def test_a_batch_whose_samples_all_weigh_nothing_changes_nothing() -> None:
    x, y = data(rows=4)
    model = small_model(optimizer=SGD(0.1)).build((6,))
    model.fit(x, y, batch_size=1, sample_weight=np.asarray([1.0, 0, 0, 0]))
    assert all(np.isfinite(array).all() for array in model.parameters.values())


def test_a_perfect_accuracy_is_exactly_one(backend_name: str) -> None:
    x = np.random.default_rng(0).normal(size=(997, 1))
    model = Model(Linear(1, nn.Values([[1.0]])), BCEWithLogitsLoss(), SGD(0.1), backend=backend_name)
    assert model.evaluate(x, (x[:, 0] > 0).astype(int))["accuracy"] == 1.0


def test_a_probability_as_target_counts_by_its_side_of_a_half() -> None:
    model = Model(Linear(1, nn.Values([[1.0]])), BCEWithLogitsLoss(), SGD(0.1))
    assert model.evaluate(np.asarray([[1.0], [-1.0]]), np.asarray([0.99, 0.4]))["accuracy"] == 1.0


def test_an_optimizer_may_return_new_blocks() -> None:
    class Fresh(SGD):
        def update(self, xp: Any, block: Any, gradient: Any, slots: Any, learning_rate: Any) -> Any:
            return block - learning_rate * gradient, slots

    x, y = data()
    expected, model = small_model(optimizer=SGD(0.1)), small_model(optimizer=Fresh(0.1))
    assert losses(model.fit(x, y, epochs=3)) == pytest.approx(losses(expected.fit(x, y, epochs=3)), rel=1e-12)


def test_a_schedule_goes_on_after_loading(tmp_path: Path) -> None:
    x, y = data()
    whole, part = (small_model(optimizer=SGD(nn.LinearDecay(0.1, steps=16))) for _ in range(2))
    expected = losses(whole.fit(x, y, epochs=4))
    part.fit(x, y, epochs=2)
    part.save(tmp_path / "model.safetensors")
    loaded = Model.load(tmp_path / "model.safetensors")
    assert losses(loaded.fit(x, y, epochs=2)) == pytest.approx(expected[2:], rel=1e-12)


def test_numbers_of_numpy_do_not_change_a_networks_dtype() -> None:
    layers = (Linear(np.int64(3)), nn.LeakyReLU(np.float64(0.1)), Linear(CLASSES))
    optimizer = SGD(lr=np.float64(0.1), momentum=np.float64(0.5))
    model = Model(Sequential(*layers), CrossEntropyLoss(), optimizer, seed=np.int64(1))
    model.fit(*data())
    assert model.predict(data()[0]).dtype == np.float32
    assert model.state.parameters[0].dtype == np.float32


def test_a_refused_fit_leaves_the_model_as_it_was() -> None:
    x, y = data()
    model = small_model()
    with pytest.raises(anynet.errors.DataError):
        model.fit(x, y, validation_data=(x, y + 100))
    assert model.input_shape is None
    wrong = Model(Linear(2, nn.Values([[1.0]])), MSELoss(), SGD(0.1))
    with pytest.raises(anynet.errors.ShapeError):
        wrong.build((3,))
    assert wrong.input_shape is None


def test_classes_in_place_of_objects_are_refused() -> None:
    with pytest.raises(
        anynet.errors.UsageError, match=r"the loss is the class MSELoss; make one, as in MSELoss\(\.\.\.\)"
    ):
        Model(Linear(1), MSELoss, SGD(0.1))


@pytest.mark.needs("jax")
def test_jax_lets_a_models_compiled_steps_go_with_the_model() -> None:
    model = small_model("jax")
    model.fit(*data())
    step = weakref.ref(model._train)
    del model
    gc.collect()
    assert step() is None


def test_evaluation_and_prediction_agree_with_each_other(backend_name: str) -> None:
    x, y = data(rows=1500)
    model = small_model(backend_name)
    model.fit(x, y, epochs=2)
    result = model.evaluate(x, y)
    assert result["accuracy"] == pytest.approx(np.mean(model.classify(x) == y))
    probabilities = model.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert result["loss"] == pytest.approx(-np.log(probabilities[np.arange(1500), y]).mean())
    np.testing.assert_array_equal(model.predict(x).argmax(axis=1), model.classify(x))


def test_accuracy_of_probabilities_and_of_logits_is_the_share_at_the_right_side_of_a_half() -> None:
    x = np.asarray([[-2.0], [-1.0], [1.0], [2.0]])
    y = np.asarray([0, 1, 1, 1])
    line = Linear(1, nn.Values([[1.0]]))
    for network, loss in ((line, BCEWithLogitsLoss()), (Sequential(line, nn.Sigmoid()), nn.BCELoss())):
        model = Model(network, loss, SGD(0.1))
        assert model.evaluate(x, y)["accuracy"] == 0.75
        np.testing.assert_array_equal(model.classify(x)[:, 0], [0, 0, 1, 1])


def test_bytes_are_scaled_inside_the_step_or_taken_as_numbers() -> None:
    x = np.random.default_rng(0).integers(0, 256, (20, 3), dtype=np.uint8)
    y = np.arange(20) % CLASSES
    for network, numbers in (
        (Sequential(Rescale(1 / 255), Linear(CLASSES)), x),
        (Sequential(Linear(CLASSES)), x.astype(float)),
    ):
        first, second = (Model(network, CrossEntropyLoss(), SGD(1e-4), dtype="float64") for _ in range(2))
        assert losses(first.fit(x, y)) == pytest.approx(losses(second.fit(numbers, y)), rel=1e-12)


def test_fit_goes_on_where_it_stopped() -> None:
    x, y = data()
    whole, halves = small_model(), small_model()
    expected = losses(whole.fit(x, y, epochs=4))
    assert losses(halves.fit(x, y, epochs=2)) + losses(halves.fit(x, y, epochs=2)) == expected
    assert halves.epoch == 4


def test_callbacks_hear_of_everything_in_order_and_may_stop() -> None:
    heard: list[str] = []

    class Listen(Callback):
        def on_fit_begin(self, model: Model, epochs: int, samples: int) -> None:
            heard.append(f"begin {epochs} {samples}")

        def on_batches_end(self, model: Model, samples: int) -> None:
            heard.append(f"batches {samples}")

        def on_epoch_end(self, model: Model, record: dict[str, float]) -> None:
            heard.append(f"epoch {record['epoch']}")
            if record["epoch"] == 2:
                raise StopTraining

        def on_fit_end(self, model: Model) -> None:
            heard.append("end")

    x, y = data()
    history = small_model().fit(x, y, epochs=9, batch_size=100, validation_data=(x, y), callbacks=[Listen()])
    assert heard == ["begin 9 100", "batches 100", "epoch 1", "batches 100", "epoch 2", "end"]
    assert history[-1].keys() == {"epoch", "loss", "val_loss", "val_accuracy", "seconds", "samples_per_second"}


def test_a_loss_that_is_not_finite_ends_training_with_advice() -> None:
    x, y = data()
    model = Model(Linear(1), MSELoss(), SGD(lr=1e6))
    with pytest.raises(
        anynet.errors.TrainingDiverged,
        match=r"batch \d of epoch \d, and so is weight.*try a smaller learning rate \(it is 1e\+06\)",
    ):
        model.fit(x, y.astype(float), epochs=50)


def test_weights_are_asked_for_too_early() -> None:
    with pytest.raises(anynet.errors.UsageError, match="no weights yet"):
        _ = small_model().parameters


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
