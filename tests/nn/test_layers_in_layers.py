"""What containers hand on to the layers in them, and how these are found again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError
from anynet.nn import BatchNorm, Context, Dropout, Flatten, Frozen, Linear, ReLU, Rescale, Sequential, Tanh
from anynet.nn.containers import children, leaves

pytestmark = pytest.mark.host

INNER = Sequential(Linear(2), Tanh())
NETWORK = Sequential(Flatten(), INNER, ReLU())


def test_the_children_of_a_container_are_found_by_name_in_their_order() -> None:
    assert children(NETWORK) == (("0", Flatten()), ("1", INNER), ("2", ReLU()))
    assert children(Frozen(INNER)) == (("0", Frozen(Linear(2))), ("1", Frozen(Tanh())))
    assert children(Frozen(Frozen(INNER))) == (("0", Frozen(Frozen(Linear(2)))), ("1", Frozen(Frozen(Tanh()))))
    assert children(ReLU()) == children(Frozen(ReLU())) == children(Sequential()) == ()


def test_the_leaves_are_found_by_path_however_deep_they_are() -> None:
    assert list(leaves(NETWORK)) == [
        (("0",), Flatten()),
        (("1", "0"), Linear(2)),
        (("1", "1"), Tanh()),
        (("2",), ReLU()),
    ]
    assert list(leaves(ReLU())) == [((), ReLU())]
    assert list(leaves(Frozen(NETWORK), ("all",)))[1] == (("all", "1", "0"), Frozen(Linear(2)))


@dataclass(frozen=True)
class Noted(nn.Layer):
    """A layer that notes what it is given."""

    notes: list[Any]
    stochastic = True

    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        self.notes.append((xp, p, ctx))
        return x, "kept"

    def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
        self.notes.append((xp, p, saved, need_dx))
        return dy, {}

    def update_buffers(self, xp: Any, p: Any, saved: Any) -> Any:
        self.notes.append((xp, p, saved))
        return {"new": saved}

    __hash__ = None  # type: ignore[assignment]


def test_each_layer_is_given_its_own_parameters_and_what_it_kept() -> None:
    first, second = Noted([]), Noted([])
    network, x, context = Sequential(first, ReLU(), second), np.ones((1, 1)), Context(training=True, seed=9)
    p = {"0": "first", "1": {}, "2": "second"}
    y, saved = network.forward(np, p, x, context)
    assert first.notes.pop() == (np, "first", context.at(0))
    assert second.notes.pop() == (np, "second", context.at(2))
    network.backward(np, p, saved, y.copy())
    assert first.notes.pop() == (np, "first", "kept", True)
    assert second.notes.pop() == (np, "second", "kept", True)
    assert network.update_buffers(np, p, saved) == {"0": {"new": "kept"}, "2": {"new": "kept"}}
    assert first.notes.pop() == (np, "first", "kept")
    with pytest.raises(ValueError, match="zip"):
        network.update_buffers(np, p, saved[:-1])


class Trained(Noted):
    """It has something to train, and draws nothing."""

    trainable, stochastic = True, False


def test_only_layers_above_the_first_that_trains_are_asked_for_the_gradient_of_their_input() -> None:
    first, second = Trained([]), Trained([])
    network, p = Sequential(ReLU(), first, second), {"0": {}, "1": "first", "2": "second"}
    y, saved = network.forward(np, p, np.ones((1, 1)), Context(training=True, seed=9))
    # Who draws nothing needs no seed of its own.
    assert [first.notes.pop()[2], second.notes.pop()[2]] == [Context(training=True, seed=9)] * 2
    for need_dx in (False, True):
        dx, gradients = network.backward(np, p, saved, y.copy(), need_dx)
        assert [first.notes.pop()[3], second.notes.pop()[3]] == [need_dx, True]
        assert (dx is not None) == need_dx
        assert gradients.keys() == ({"0", "1", "2"} if need_dx else {"1", "2"})


def test_what_is_frozen_is_told_that_nobody_trains() -> None:
    noted = Noted([])
    context = Context(training=True, seed=9, step=np.asarray(3))
    Frozen(noted).forward(np, "p", np.ones(1), context)
    assert noted.notes.pop() == (np, "p", Context(training=False, seed=9, step=context.step))
    assert Frozen(noted).backward(np, "p", "kept", "dy", need_dx=False) == (None, {})
    assert noted.notes == []
    assert Frozen(noted).backward(np, "p", "kept", "dy") == ("dy", {})
    assert noted.notes.pop() == (np, "p", "kept", True)


def test_a_container_is_what_the_layers_in_it_are() -> None:
    told = {
        Sequential(): (False, False, False, False),
        Sequential(ReLU(), Tanh()): (False, False, False, False),
        Sequential(Linear(1)): (True, False, False, False),
        Sequential(ReLU(), Linear(1)): (True, False, False, False),
        Sequential(Rescale(), Dropout(0.5)): (False, True, True, False),
        Sequential(Dropout(0.5), Rescale()): (False, False, True, False),
        Sequential(ReLU(), BatchNorm()): (True, False, False, True),
        Frozen(Sequential(Rescale(), Linear(1), BatchNorm(), Dropout(0.5))): (False, True, False, False),
    }
    for network, expected in told.items():
        found = network.trainable, network.accepts_uint8, network.stochastic, network.updates_buffers
        assert found == expected, network


def test_all_that_is_frozen_are_buffers_of_the_same_names_and_first_values() -> None:
    specs, out_shape = Sequential(INNER, BatchNorm()).parameters((3,))
    frozen, same_shape = Frozen(Sequential(INNER, BatchNorm())).parameters((3,))
    assert same_shape == out_shape == (2,)
    by_name, frozen_by_name = nn.layout.by_name(specs), nn.layout.by_name(frozen)
    assert list(by_name) == list(frozen_by_name)
    for name, parameter in frozen_by_name.items():
        assert not parameter.trainable
        assert parameter.shape == by_name[name].shape
        assert parameter.initializer == by_name[name].initializer


def test_a_shape_that_does_not_fit_is_told_with_the_place_of_the_layer() -> None:
    with pytest.raises(
        ShapeError, match=r"^layer 1 \(Sequential\): layer 0 \(Rescale\): Rescale has 2 numbers as shift"
    ):
        Sequential(ReLU(), Sequential(Rescale(shift=(1.0, 2.0)))).parameters((3,))
