"""Layers that hold layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.nn import Context, Layout


def test_sequential_infers_sizes_and_names_parameters_by_position() -> None:
    layout = Layout(nn.Sequential(nn.Flatten(), nn.Linear(3), nn.ReLU(), nn.Linear(2)), (2, 2))
    shapes = {entry.name: entry.parameter.shape for entry in layout.parameters}
    assert shapes == {"1.weight": (4, 3), "1.bias": (3,), "3.weight": (3, 2), "3.bias": (2,)}
    assert layout.out_shape == (2,)


def test_no_gradient_is_carried_below_the_first_layer_that_trains() -> None:
    class Below(nn.Flatten):
        def backward(self, *arguments: Any) -> Any:
            raise AssertionError("the gradient of the input was computed")

    network = nn.Sequential(Below(), nn.Sequential(nn.Rescale(2.0), nn.Linear(2)), nn.ReLU())
    layout = Layout(network, (3,))
    p = layout.unpack(np, *layout.blocks(np, layout.initial(np, np.random.default_rng(0))))
    y, saved = network.forward(np, p, np.ones((4, 3)), Context())
    dx, gradients = network.backward(np, p, saved, y.copy(), need_dx=False)
    assert dx is None
    assert gradients["1"]["1"].keys() == {"weight", "bias"}


class TestSequential:
    layers = (nn.Linear(3), nn.ReLU(), nn.Linear(1))
    network = nn.Sequential(*layers)

    def test_it_has_the_length_the_items_and_the_order_of_its_layers(self) -> None:
        assert len(self.network) == 3
        assert tuple(self.network) == self.layers
        assert (self.network[0], self.network[-1]) == (self.layers[0], self.layers[-1])
        assert nn.ReLU() in self.network

    @pytest.mark.parametrize("part", [slice(1), slice(1, None), slice(None, None, -1), slice(5, 9)])
    def test_a_slice_is_a_sequential(self, part: slice) -> None:
        assert self.network[part] == nn.Sequential(*self.layers[part])

    def test_there_is_nothing_behind_its_end(self) -> None:
        with pytest.raises(IndexError):
            self.network[3]

    def test_equal_layers_make_it_equal_and_give_it_the_same_hash(self) -> None:
        assert self.network == nn.Sequential(*self.network)
        assert hash(self.network) == hash(nn.Sequential(*self.network))
        assert self.network != self.network[:2]


class TestFrozen:
    x = np.random.default_rng(4).normal(size=(40, 5))
    y = x[:, :2] * x[:, 1:3]

    def partly_frozen(self, **options: Any) -> anynet.Model:
        base = nn.Sequential(nn.Linear(6), nn.BatchNorm(), nn.Dropout(0.5), nn.Tanh())
        network = nn.Sequential(nn.Frozen(base), nn.Linear(2))
        return anynet.Model(network, nn.MSELoss(), nn.Adam(0.01, weight_decay=0.1), dtype="float64", **options)

    def test_nothing_in_it_changes_on_any_backend(self, backend_name: str) -> None:
        model = self.partly_frozen(backend=backend_name).build((5,))
        before = model.parameters
        model.fit(self.x, self.y, epochs=2, batch_size=8)
        after = model.parameters
        changed = [name for name in before if (before[name] != after[name]).any()]
        assert changed == ["1.weight", "1.bias"]

    def test_what_comes_after_it_learns_as_it_would_from_fixed_inputs(self) -> None:
        frozen = self.partly_frozen().build((5,))
        head = anynet.Model(nn.Sequential(nn.Linear(2)), frozen.loss, frozen.optimizer, dtype="float64")
        head.build((6,), {f"0.{name}": frozen.parameters[f"1.{name}"] for name in ("weight", "bias")})
        base = frozen.network[0].layer
        part = {name[2:]: array for name, array in frozen.parameters.items() if name.startswith("0.")}
        features = anynet.Model(base, frozen.loss, frozen.optimizer, dtype="float64").build((5,), part).predict(self.x)
        found = frozen.fit(self.x, self.y, epochs=3, batch_size=8)
        expected = head.fit(features, self.y, epochs=3, batch_size=8)
        np.testing.assert_allclose([r["loss"] for r in found], [r["loss"] for r in expected], rtol=1e-12)

    def test_the_gradient_passes_through_it(self) -> None:
        network = nn.Sequential(nn.Linear(4), nn.Frozen(nn.Sequential(nn.Linear(3), nn.Tanh())), nn.Linear(2))
        assert anynet.gradcheck(network, (5,)).error < 1e-7

    def test_no_gradient_is_carried_into_it_where_nothing_below_trains(self) -> None:
        class Below(nn.Tanh):
            def backward(self, *arguments: Any) -> Any:
                raise AssertionError("a gradient was computed for nothing")

        network = nn.Sequential(nn.Frozen(nn.Sequential(nn.Linear(3), Below())), nn.Linear(2))
        anynet.Model(network, nn.MSELoss(), nn.SGD(0.1)).fit(self.x, self.y)

    def test_a_network_that_is_frozen_altogether_keeps_its_weights(self, backend_name: str) -> None:
        network = nn.Frozen(nn.Sequential(nn.Linear(2)))
        model = anynet.Model(network, nn.MSELoss(), nn.SGD(0.1), backend=backend_name).build((5,))
        before = model.parameters["0.weight"]
        model.fit(self.x, self.y)
        np.testing.assert_array_equal(model.parameters["0.weight"], before)

    def test_bytes_reach_a_frozen_rescale_as_bytes(self) -> None:
        assert nn.Frozen(nn.Rescale(1 / 255)).accepts_uint8
        assert not nn.Frozen(nn.ReLU()).accepts_uint8
