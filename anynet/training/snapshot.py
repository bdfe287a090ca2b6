"""All that a model is, as NumPy's arrays: to be pickled, or to go on on another backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.backends import Backend
from anynet.backends.base import Array
from anynet.nn import Layout
from anynet.nn.layer import Shape
from anynet.nn.layout import by_name

if TYPE_CHECKING:
    from anynet.training.model import Model

_PLAIN = ("network", "loss", "optimizer", "seed", "epoch", "metadata", "input_shape")


def named(model: Model, blocks: tuple[Array, ...]) -> dict[str, Any]:
    """Blocks laid out like the parameters as NumPy arrays by name, with the buffers beside them."""
    tree = model.layout.unpack(model.backend.xp, blocks, model.state.buffers)
    return {name: np.array(model.backend.to_numpy(array)) for name, array in by_name(tree).items()}


def plain(model: Model) -> dict[str, Any]:
    """What a model is beside its arrays."""
    return {**{name: getattr(model, name) for name in _PLAIN}, "dtype": model.backend.dtype_name}


def shapes(model: Model, input_shape: Shape) -> dict[str, Shape]:
    """The shape of each parameter and buffer, by name."""
    layout = Layout(model.network, input_shape, model.backend.pack_limit)
    return {entry.name: entry.parameter.shape for entry in (*layout.parameters, *layout.buffers)}


def taken(model: Model) -> dict[str, Any]:
    """Everything by name, in arrays of the host: weights, buffers, what the optimizer remembers, where it is."""
    kept = plain(model)
    if model.input_shape is not None:
        state = model.state
        slots = state.slots[0] if state.slots else {}
        kept["arrays"] = named(model, state.parameters)
        trained = {entry.name for entry in model.layout.parameters}
        kept["slots"] = {
            slot: {
                name: array
                for name, array in named(model, tuple(block[slot] for block in state.slots)).items()
                if name in trained
            }
            for slot in slots
        }
        kept["numbers"] = [np.array(model.backend.to_numpy(n)) for n in (state.learning_rate, state.step)]
    return kept


def put_back(model: Model, kept: dict[str, Any], backend: Backend) -> None:
    """Make a model what was taken of another, on a backend, however that lays out its blocks."""
    vars(model).update({name: kept[name] for name in _PLAIN}, backend=backend, course=None)
    if model.input_shape is None:
        return
    model.build(model.input_shape, kept["arrays"])
    slots_by_name = kept["slots"].items()
    blocks = {slot: model.layout.blocks(np, {**kept["arrays"], **arrays})[0] for slot, arrays in slots_by_name}
    slots = tuple(
        {slot: backend.asarray(blocks[slot][i], copy=True) for slot in blocks}
        for i in range(len(model.state.parameters))
    )
    learning_rate, step = (backend.asarray(number, copy=True) for number in kept["numbers"])
    model.state = model.state._replace(slots=slots, learning_rate=learning_rate, step=step)
