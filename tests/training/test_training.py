"""What training promises: every setting does what it says, and nothing is lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.four_classes import CLASSES, data, losses, small_model

import anynet
from anynet import nn
from anynet.model import Model
from anynet.nn import SGD, CrossEntropyLoss, Linear, MSELoss, Rescale, Sequential
from anynet.training import Callback, StopTraining


def test_another_seed_gives_other_weights() -> None:
    first, second = (small_model(seed=seed).build((6,)).parameters for seed in (0, 1))
    assert (first["0.weight"] != second["0.weight"]).all()


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
