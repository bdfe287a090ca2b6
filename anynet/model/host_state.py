"""Converts the state of a network to NumPy arrays by name, and back: for pickles, files and other backends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anynet.backends import Backend
from anynet.nn import Layout, Optimizer
from anynet.nn.layer import Shape
from anynet.nn.layout import Blocks
from anynet.training.state import State


def named_arrays(layout: Layout, backend: Backend, state: State) -> dict[str, Any]:
    """Parameters and buffers as NumPy arrays by name."""
    blocks = {True: state.parameters, False: state.buffers}
    views = {entry.name: entry.view(backend.xp, blocks[entry.parameter.trainable]) for entry in layout.entries}
    return {name: np.array(backend.to_numpy(view)) for name, view in views.items()}


def to_host(layout: Layout, backend: Backend, optimizer: Optimizer, state: State) -> dict[str, Any]:
    """A state as `arrays` by name, `slots` by slot and parameter, and `numbers`: learning rate and step."""
    slots: dict[str, dict[str, Any]] = {}
    for i, entry in enumerate(layout.parameters):
        for slot, array in state.slots[entry.block if optimizer.elementwise else i].items():
            part = entry.part(backend.xp, array) if optimizer.elementwise else array
            slots.setdefault(slot, {})[entry.name] = np.array(backend.to_numpy(part))
    numbers = [np.array(backend.to_numpy(number)) for number in (state.learning_rate, state.step)]
    return {"arrays": named_arrays(layout, backend, state), "slots": slots, "numbers": numbers}


def slot_shapes(layout: Layout, optimizer: Optimizer) -> dict[str, dict[str, Shape]]:
    """The shapes of the slots that `to_host` gives."""
    shapes: dict[str, dict[str, Shape]] = {}
    for entry in layout.parameters:
        for slot, array in optimizer.init(np, np.zeros(entry.parameter.shape)).items():
            shapes.setdefault(slot, {})[entry.name] = array.shape
    return shapes


def from_host(layout: Layout, backend: Backend, optimizer: Optimizer, kept: Mapping[str, Any]) -> State:
    """Undo `to_host`, on any backend and with any layout of the same network."""

    def owned(array: Any) -> Any:
        return backend.asarray(array, copy=True)

    parameters, buffers = layout.blocks(np, kept["arrays"])
    slots = _slots(layout, optimizer, parameters, kept["slots"])
    on_device = tuple({name: owned(array) for name, array in of_block.items()} for of_block in slots)
    return State(tuple(map(owned, parameters)), tuple(map(owned, buffers)), on_device, *map(owned, kept["numbers"]))


def _slots(layout: Layout, optimizer: Optimizer, blocks: Blocks, kept: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Slots by name, for each block or, where the optimizer is not elementwise, for each parameter."""
    names = [entry.name for entry in layout.parameters]
    if not optimizer.elementwise:
        return [{slot: of[name] for slot, of in kept.items() if name in of} for name in names]
    joined = {slot: layout.join(np, tuple(of[name] for name in names)) for slot, of in kept.items()}
    slots = []
    for i, block in enumerate(blocks):
        first = next(entry.name for entry in layout.parameters if entry.block == i)
        made = optimizer.init(np, block)
        slots.append({slot: joined[slot][i] if made[slot].shape else kept[slot][first] for slot in made})
    return slots
