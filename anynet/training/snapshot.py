"""All that a model is, as NumPy's arrays: to be pickled, or to go on on another backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from anynet.backends import Backend
from anynet.backends.base import Array
from anynet.nn.layout import by_name

if TYPE_CHECKING:
    from anynet.training.model import Model

_PLAIN = ("network", "loss", "optimizer", "seed", "epoch", "metadata", "input_shape")


def named(model: Model, blocks: tuple[Array, ...]) -> dict[str, Any]:
    """Blocks laid out like the parameters as NumPy arrays by name, with the buffers beside them."""
    tree = model.layout.unpack(model.backend.xp, blocks, model.state.buffers)
    return {name: np.array(model.backend.to_numpy(array)) for name, array in by_name(tree).items()}


def taken(model: Model) -> dict[str, Any]:
    """Everything by name, in arrays of the host: weights, buffers, what the optimizer remembers, where it is."""
    kept = {name: getattr(model, name) for name in _PLAIN}
    kept["dtype"] = model.backend.dtype_name
    if model.input_shape is not None:
        state = model.state
        slots = state.slots[0] if state.slots else {}
        kept["arrays"] = named(model, state.parameters)
        kept["slots"] = {slot: named(model, tuple(block[slot] for block in state.slots)) for slot in slots}
        kept["numbers"] = [np.array(model.backend.to_numpy(n)) for n in (state.learning_rate, state.step)]
    return kept


def put_back(model: Model, kept: dict[str, Any], backend: Backend) -> None:
    """Make a model what was taken of another, on a backend, however that lays out its blocks."""
    vars(model).update({name: kept[name] for name in _PLAIN}, backend=backend)
    if model.input_shape is None:
        return
    model.build(model.input_shape, kept["arrays"])
    blocks = {slot: model.layout.blocks(np, arrays)[0] for slot, arrays in kept["slots"].items()}
    slots = tuple(
        {slot: backend.asarray(blocks[slot][i], copy=True) for slot in blocks}
        for i in range(len(model.state.parameters))
    )
    learning_rate, step = (backend.asarray(number, copy=True) for number in kept["numbers"])
    model.state = model.state._replace(slots=slots, learning_rate=learning_rate, step=step)
