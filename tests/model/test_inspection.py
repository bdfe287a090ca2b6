"""What a model shows of itself: the outputs of its layers and its gradients, on every backend, with nothing changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet.errors import DataError, ShapeError
from anynet.model import Model
from anynet.nn import (
    SGD,
    BatchNorm,
    Concat,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Frozen,
    HalfMSELoss,
    Linear,
    MSELoss,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Tanh,
)

ROWS = 1500
IMAGES = np.random.default_rng(3).integers(0, 256, (ROWS, 2, 3), dtype=np.uint8)
LABELS = IMAGES[:, 0, 0] // 100
NETWORK = Sequential(
    Rescale(1 / 255), Flatten(), Linear(5), BatchNorm(), Sequential(Dropout(0.4), Tanh()), Frozen(Linear(4)), Linear(3)
)


def model(backend: str = BACKEND, network: Any = NETWORK, dtype: str = "float64") -> Model:
    return Model(network, CrossEntropyLoss(), SGD(0.5), backend=backend, dtype=dtype, seed=5)


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return found.keys() == expected.keys() and all((found[name] == expected[name]).all() for name in expected)


class TestActivations:
    def test_every_layer_is_there_by_its_name_in_its_order(self, backend_name: str) -> None:
        found = model(backend_name).activations(IMAGES)
        shapes = {name: output.shape for name, output in found.items()}
        assert list(shapes) == ["0", "1", "2", "3", "4.0", "4.1", "5", "6"]
        assert list(shapes.values()) == [(ROWS, *shape) for shape in [(2, 3), (6,), (5,), (5,), (5,), (5,), (4,), (3,)]]
        assert all(type(output) is np.ndarray and output.dtype == np.float64 for output in found.values())

    def test_each_is_what_its_layer_makes_of_the_one_before(self, backend_name: str) -> None:
        trained = model(backend_name)
        trained.fit(IMAGES, LABELS)
        found, weights = trained.activations(IMAGES), trained.parameters
        np.testing.assert_allclose(found["0"], IMAGES / 255)
        np.testing.assert_allclose(found["2"], found["1"] @ weights["2.weight"] + weights["2.bias"])
        np.testing.assert_array_equal(found["4.0"], found["3"], "dropout is off")
        np.testing.assert_allclose(found["4.1"], np.tanh(found["3"]))
        np.testing.assert_allclose(found["6"], trained.predict(IMAGES))

    def test_the_tenth_layer_comes_after_the_ninth(self, backend_name: str) -> None:
        deep = model(backend_name, network=Sequential(*[ReLU()] * 11))
        assert list(deep.activations(IMAGES)) == [str(position) for position in range(11)]

    def test_branches_are_all_given_the_same_and_what_is_made_of_them_comes_after_them(self, backend_name: str) -> None:
        network = Sequential(Flatten(), Residual(Linear(6)), Concat(Tanh(), Frozen(Residual(Linear(2), Linear(2)))))
        built = model(backend_name, network=Sequential(network, Linear(3))).build((2, 3))
        found, weights = built.activations(IMAGES / 255), built.parameters
        inside = ["0.0", "0.1.layer", "0.1", "0.2.0", "0.2.1.layer", "0.2.1.shortcut", "0.2.1", "0.2", "1"]
        assert list(found) == inside
        np.testing.assert_allclose(found["0.1"], found["0.0"] + found["0.1.layer"])
        of_shortcut = found["0.1"] @ weights["0.2.1.shortcut.weight"] + weights["0.2.1.shortcut.bias"]
        np.testing.assert_allclose(found["0.2.1"], of_shortcut + found["0.2.1.layer"])
        np.testing.assert_allclose(found["0.2"], np.concatenate([np.tanh(found["0.1"]), found["0.2.1"]], axis=1))
        np.testing.assert_allclose(found["1"], built.predict(IMAGES / 255))

    def test_a_network_of_one_layer_has_one_without_a_name(self) -> None:
        alone = model(network=Linear(3))
        np.testing.assert_array_equal(alone.activations(IMAGES[:, 0])[""], alone.predict(IMAGES[:, 0]))

    def test_samples_of_another_shape_are_refused(self) -> None:
        with pytest.raises(ShapeError, match="takes samples of shape"):
            model().build((2, 3)).activations(IMAGES[:, 0])


class TestGradients:
    @pytest.mark.parametrize(
        ("network", "rows"),
        [
            (
                Sequential(Rescale(1 / 255), Flatten(), Linear(5), BatchNorm(), Tanh(), Frozen(Linear(4)), Linear(3)),
                ROWS,
            ),
            # Rows that are all alike may be trained on in any order.
            (Sequential(Rescale(1 / 255), Flatten(), Linear(5), Dropout(0.4), Linear(3)), 1),
        ],
        ids=["batch normalization", "dropout"],
    )
    @pytest.mark.filterwarnings("ignore:all 1500 targets are class")
    def test_they_are_those_of_the_next_training_step(self, backend_name: str, network: Any, rows: int) -> None:
        trained = model(backend_name, network)
        trained.fit(IMAGES, LABELS)
        x, y = (np.resize(array[:rows], array.shape) for array in (IMAGES, LABELS))
        before, gradients = trained.parameters, trained.gradients(x, y)
        trained.fit(x, y, batch_size=ROWS)
        after = trained.parameters
        assert list(gradients) == [entry.name for entry in trained.layout.parameters]
        for name, gradient in gradients.items():
            np.testing.assert_allclose(before[name] - after[name], 0.5 * gradient, rtol=1e-6, atol=1e-9)

    def test_they_agree_with_differences_of_the_loss(self) -> None:
        smooth = model(network=Sequential(Linear(5), Tanh(), Linear(3)))
        x, weight = IMAGES[:40, 0] / 255, np.linspace(0, 2, 40)
        smooth.fit(x, LABELS[:40])
        arrays = smooth.parameters
        gradients = smooth.gradients(x, LABELS[:40], weight)
        for name, gradient in gradients.items():
            losses = []
            for step in (1e-6, -1e-6):
                moved = model(network=smooth.network).build((3,), {**arrays, name: arrays[name] + step * gradient})
                losses.append(moved.evaluate(x, LABELS[:40], weight)["loss"])
            assert (losses[0] - losses[1]) / 2e-6 == pytest.approx((gradient**2).sum(), rel=1e-6)

    def test_one_that_is_nothing_but_rounding_does_not_keep_the_others_from_being_compiled(
        self, backend_name: str
    ) -> None:
        # A bias before a batch normalization has no gradient, and the targets are large.
        network = Sequential(Linear(4), BatchNorm(), Tanh(), Linear(1))
        model = Model(network, MSELoss(), SGD(0.1), backend=backend_name, dtype="float32")
        generator = np.random.default_rng(0)
        gradients = model.gradients(generator.normal(size=(200, 5)), 1e4 * generator.normal(size=(200, 1)))
        assert np.abs(gradients["0.bias"]).max() < 1e-5 * np.abs(gradients["0.weight"]).max()

    def test_what_is_frozen_has_none(self) -> None:
        assert model(network=Frozen(Linear(3))).gradients(IMAGES[:, 0], LABELS) == {}

    @pytest.mark.parametrize(
        ("y", "error", "words"),
        [
            (LABELS + 3, DataError, "labels must be 0 to 2"),
            (LABELS[:5], ShapeError, "the target must have as many rows"),
        ],
    )
    def test_targets_that_do_not_fit_are_refused(self, y: Any, error: Any, words: str) -> None:
        with pytest.raises(error, match=words):
            model().gradients(IMAGES, y)


def test_looking_changes_nothing(backend_name: str) -> None:
    looked, left = model(backend_name), model(backend_name)
    for _ in range(2):
        for one in (looked, left):
            one.fit(IMAGES, LABELS, batch_size=64)
        before = looked.parameters
        assert same(looked.gradients(IMAGES, LABELS), looked.gradients(IMAGES, LABELS))
        looked.activations(IMAGES)
        assert same(looked.parameters, before)
    assert same(looked.parameters, left.parameters)


def test_a_loss_that_is_put_in_place_of_another_is_the_one_that_is_differentiated() -> None:
    line = Model(Linear(1), MSELoss(), SGD(0.1), dtype="float64").build((3,))
    x, y = IMAGES[:9, 0] / 255, np.ones((9, 1))
    of_mean = line.gradients(x, y)
    line.loss = HalfMSELoss()
    np.testing.assert_allclose(line.gradients(x, y)["weight"], of_mean["weight"] / 2)


@pytest.mark.needs("jax")
def test_looking_again_compiles_nothing_again() -> None:
    calls = []

    class Counted(ReLU):
        def forward(self, *arguments: Any) -> Any:
            calls.append(1)
            return super().forward(*arguments)

    looked = model("jax", network=Sequential(Linear(3), Counted()))
    looked.activations(IMAGES[:, 0])
    count = len(calls)
    looked.activations(IMAGES[:, 0])
    assert len(calls) == count
