"""A state as it begins: blocks of parameters, and what an optimizer remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from training.one_layer import ARRAYS, LAYOUT

from anynet.errors import UsageError
from anynet.nn import SGD, Adam, Layout, Linear, LinearDecay, Sequential
from anynet.nn.optimizers import Optimizer
from anynet.training.state import first_rate, first_slots, state_of, step_number

pytestmark = pytest.mark.host


def test_a_state_begins_with_copies_of_the_arrays_and_an_optimizer_that_begins(backend: Any) -> None:
    state = state_of(backend, LAYOUT, Adam(0.25), ARRAYS, step=7)
    (block,) = state.parameters
    np.testing.assert_array_equal(block, [*ARRAYS["0.weight"].ravel(), -1, -2])
    block += 1
    assert ARRAYS["0.weight"][0, 0] == 0
    assert state.buffers == ()
    assert {name: slot.shape for name, slot in state.slots[0].items()} == {"mean": (8,), "square": (8,), "step": ()}
    assert (float(state.learning_rate), int(state.step), state.step.dtype) == (0.25, 7, np.int32)
    assert int(state_of(backend, LAYOUT, SGD(0.1), ARRAYS).step) == 0


def test_blocks_that_are_parameters_by_themselves_are_copies_too(backend: Any) -> None:
    state = state_of(backend, Layout(Sequential(Linear(2)), (3,), pack_limit=0), SGD(0.1), ARRAYS)
    for block, array in zip(state.parameters, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(block, array)
        assert not np.shares_memory(block, array)


def test_a_schedule_leaves_no_rate_in_the_state(backend: Any) -> None:
    assert float(first_rate(backend, SGD(0.5))) == 0.5
    assert float(first_rate(backend, SGD(LinearDecay(0.5, 10)))) == 0.0
    assert first_rate(backend, SGD(0.5)).dtype == np.float64
    assert (int(step_number(backend, 3)), step_number(backend, 3).dtype) == (3, np.int32)


@dataclass(frozen=True)
class Remembering(Optimizer):
    """Remembers what it was made with."""

    make: Any = None
    lr: float = 0.1
    elementwise = True

    def init(self, xp: Any, block: Any) -> Any:
        return {"kept": self.make(block)}


class PerParameter(Remembering):
    elementwise = False


def test_slots_of_an_elementwise_optimizer_are_like_blocks_or_single_numbers(backend: Any) -> None:
    blocks = LAYOUT.blocks(np, ARRAYS)[0]
    for make in (np.zeros_like, lambda block: np.zeros((), block.dtype)):
        assert len(first_slots(backend, LAYOUT, Remembering(make), blocks)) == 1
    for slot, told in ((np.zeros(2), "(2,) and float64"), (np.zeros(8, np.float32), "(8,) and float32")):
        with pytest.raises(UsageError) as refused:
            first_slots(backend, LAYOUT, Remembering(lambda block, slot=slot: slot), blocks)
        assert str(refused.value) == (
            f"Remembering.init makes a slot 'kept' of shape {told} for a block of shape (8,) and float64: make it with "
            "xp.zeros_like(block), or give the class elementwise = False, which allows slots of any shape"
        )


def test_slots_of_another_optimizer_are_of_any_shape_for_each_parameter_in_its_own(backend: Any) -> None:
    shapes: list[Any] = []

    def rows(block: Any) -> Any:
        shapes.append(block.shape)
        return np.zeros(block.shape[0])

    blocks = LAYOUT.blocks(np, ARRAYS)[0]
    slots = first_slots(backend, LAYOUT, PerParameter(rows), blocks)
    assert shapes == [(3, 2), (2,)]
    assert [slot["kept"].shape for slot in slots] == [(3,), (2,)]
    with pytest.raises(UsageError, match=r"of shape \(2,\) and float32 for a block of shape \(3, 2\) and float64"):
        first_slots(backend, LAYOUT, PerParameter(lambda block: np.zeros(2, np.float32)), blocks)
