"""The state of a network as NumPy arrays by name: to be pickled, written to a file, or taken to another backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anynet.backends import Backend
from anynet.nn import Layout
from anynet.nn.layout import by_name
from anynet.training.state import State


def named_arrays(layout: Layout, backend: Backend, state: State) -> dict[str, Any]:
    """Parameters and buffers as NumPy arrays by name."""
    tree = layout.unpack(backend.xp, state.parameters, state.buffers)
    return {name: np.array(backend.to_numpy(array)) for name, array in by_name(tree).items()}


def to_host(layout: Layout, backend: Backend, state: State) -> dict[str, Any]:
    """All of a state: `arrays` by name, `slots` by their name and the parameter's, and the two `numbers`."""
    arrays = named_arrays(layout, backend, state)
    trained = [entry.name for entry in layout.parameters]
    slots = {}
    for slot in state.slots[0] if state.slots else ():
        named = named_arrays(layout, backend, state._replace(parameters=tuple(block[slot] for block in state.slots)))
        slots[slot] = {name: named[name] for name in trained}
    numbers = [np.array(backend.to_numpy(number)) for number in (state.learning_rate, state.step)]
    return {"arrays": arrays, "slots": slots, "numbers": numbers}


def from_host(layout: Layout, backend: Backend, kept: Mapping[str, Any]) -> State:
    """The state that `to_host` was given, however this backend lays out blocks."""

    def owned(array: Any) -> Any:
        return backend.asarray(array, copy=True)

    parameters, buffers = (tuple(map(owned, part)) for part in layout.blocks(np, kept["arrays"]))
    blocks = {slot: layout.blocks(np, {**kept["arrays"], **arrays})[0] for slot, arrays in kept["slots"].items()}
    slots = tuple({slot: owned(blocks[slot][i]) for slot in blocks} for i in range(len(parameters)))
    return State(parameters, buffers, slots, *map(owned, kept["numbers"]))
