"""One training step, as a pure function of state and batch; and its two sisters that do not train."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anynet.backends.base import Array, Backend, Step
from anynet.nn import Context, Layer, Layout, Loss, Optimizer
from anynet.training.metrics import metrics_of


class State(NamedTuple):
    """All that changes while a network trains: blocks laid out alike, and two 0-d arrays.

    `learning_rate` is that of an optimizer without a schedule; `step` counts the steps taken.
    """

    parameters: tuple[Array, ...]
    buffers: tuple[Array, ...]
    slots: tuple[dict[str, Array], ...]
    learning_rate: Array
    step: Array


def training_step(
    backend: Backend, network: Layer, loss: Loss, optimizer: Optimizer, layout: Layout, decays: tuple[Array, ...]
) -> Step:
    """The step of ``backend.run`` that trains: forward, loss, backward, update.

    A batch is (x, target, weight). `decays` marks, block by block, the numbers that decoupled weight decay
    shrinks; it is empty when there is none.
    """
    xp = backend.xp
    floats = _floats(backend, network)
    ctx = Context(training=True)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        x, target, weight = batch
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, saved = network.forward(xp, p, floats(x), ctx)
        value, dprediction = loss(xp, prediction, target, weight)
        _, gradients = network.backward(xp, p, saved, dprediction, need_dx=False)
        learning_rate, number = state.learning_rate, state.step
        if callable(optimizer.lr):
            learning_rate = optimizer.lr(xp, xp.astype(number, backend.dtype))
        number += 1
        parameters, slots = [], []
        for i, gradient in enumerate(layout.pack(xp, gradients)):
            block = state.parameters[i]
            if decays:
                block -= (learning_rate * optimizer.weight_decay) * decays[i] * block
            block, kept = optimizer.update(xp, block, gradient, state.slots[i], learning_rate, number)
            parameters.append(block)
            slots.append(kept)
        return State(tuple(parameters), state.buffers, tuple(slots), state.learning_rate, number), {"loss": value}

    return step


def evaluation_step(backend: Backend, network: Layer, loss: Loss, layout: Layout) -> Step:
    """The step that measures loss and metrics; the weights of all batches together sum to 1."""
    xp = backend.xp
    floats = _floats(backend, network)
    metrics = metrics_of(loss)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        x, target, weight = batch
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(x), Context())
        value, _ = loss(xp, prediction, target, weight)
        measured = {name: metric(xp, prediction, target, weight) for name, metric in metrics.items()}
        return state, {"loss": value, **measured}

    return step


def prediction_step(backend: Backend, network: Layer, layout: Layout) -> Step:
    """The step that gives the network's output for a batch of x alone."""
    xp = backend.xp
    floats = _floats(backend, network)

    def step(state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(batch[0]), Context())
        return state, {"prediction": prediction}

    return step


def _floats(backend: Backend, network: Layer) -> Callable[[Array], Array]:
    """Bytes travel as bytes and become floats only inside the step, a batch at a time."""
    if getattr(network, "takes_bytes", False):
        return lambda x: x
    return lambda x: x if x.dtype == backend.dtype else backend.xp.astype(x, backend.dtype)
