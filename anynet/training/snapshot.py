"""All that a model is, as NumPy's arrays: to be pickled, or to go on on another backend."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.nn import Layout
from anynet.nn.layer import Shape
from anynet.nn.layout import by_name
from anynet.training.state import State

if TYPE_CHECKING:
    from anynet.training.owned_network import OwnedNetwork

_PLAIN = ("network", "loss", "optimizer", "seed", "epoch", "steps_before", "metadata", "input_shape")


def named(model: OwnedNetwork, state: State) -> dict[str, Any]:
    """Parameters and buffers as NumPy arrays by name."""
    tree = model.layout.unpack(model.backend.xp, state.parameters, state.buffers)
    return {name: np.array(model.backend.to_numpy(array)) for name, array in by_name(tree).items()}


def shapes(model: OwnedNetwork, input_shape: Shape) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The shape of each parameter, and of each buffer, by name."""
    layout = Layout(model.network, input_shape, model.backend.pack_limit)
    return layout.shapes(layout.parameters), layout.shapes(layout.buffers)


def taken(model: OwnedNetwork) -> dict[str, Any]:
    """Everything by name, in arrays of the host: weights, buffers, what the optimizer remembers, where it is."""
    kept = {**{name: getattr(model, name) for name in _PLAIN}, "dtype": model.backend.dtype_name}
    kept["metadata"] = copy.deepcopy(model.metadata)
    if model.input_shape is None:
        return kept
    state = model.read_state()
    kept["arrays"] = named(model, state)
    trained = [entry.name for entry in model.layout.parameters]
    kept["slots"] = {}
    for slot in state.slots[0] if state.slots else ():
        arrays = named(model, state._replace(parameters=tuple(block[slot] for block in state.slots)))
        kept["slots"][slot] = {name: arrays[name] for name in trained}
    kept["numbers"] = [np.array(model.backend.to_numpy(n)) for n in (state.learning_rate, state.step)]
    return kept


def put_back(model: OwnedNetwork, kept: Mapping[str, Any]) -> None:
    """Give a model that has weights the arrays that were taken of another, however its backend lays out blocks."""
    backend = model.backend
    parameters, buffers = (tuple(map(_owned(backend), part)) for part in model.layout.blocks(np, kept["arrays"]))
    by_slot = kept["slots"].items()
    blocks = {slot: model.layout.blocks(np, {**kept["arrays"], **arrays})[0] for slot, arrays in by_slot}
    slots = tuple({slot: _owned(backend)(blocks[slot][i]) for slot in blocks} for i in range(len(parameters)))
    learning_rate, step = map(_owned(backend), kept["numbers"])
    model.state = State(parameters, buffers, slots, learning_rate, step)


def _owned(backend: Any) -> Any:
    return lambda array: backend.asarray(array, copy=True)
