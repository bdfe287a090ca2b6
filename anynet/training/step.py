"""One training step, as a pure function of state and batch; and its two sisters that do not train."""

from __future__ import annotations

from collections.abc import Callable

from anynet.backends.base import Array, Backend, Step
from anynet.nn import Context, Layer, Layout, Loss, Optimizer
from anynet.nn.layer import Namespace
from anynet.nn.layout import Blocks
from anynet.training.metrics import metrics_of
from anynet.training.state import State


def training_step(
    backend: Backend,
    network: Layer,
    loss: Loss,
    optimizer: Optimizer,
    layout: Layout,
    decays: tuple[Array, ...],
    l2: float = 0.0,
    clip_norm: float | None = None,
    seed: int = 0,
    steps_before: int = 0,
) -> Step:
    """The step of ``backend.run`` that trains: forward, loss, backward, update.

    `decays` marks, block by block, the numbers that decoupled weight decay and `l2` shrink; it is empty where
    there is neither. With `clip_norm`, a gradient longer than that is scaled down to it (Pascanu et al. 2013). A
    schedule, and what is drawn at random, go on from `steps_before`, steps that the optimizer does not remember.
    Batches are those of `loss_and_gradient`.
    """
    differentiate = loss_and_gradient(backend, network, loss, layout, decays, l2, seed, steps_before)

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        value, gradients, buffers = differentiate(xp, state, batch)
        if clip_norm is not None:
            gradients = _clipped(xp, gradients, clip_norm)
        learning_rate, number = state.learning_rate, state.step
        if callable(optimizer.lr):
            learning_rate = optimizer.lr(xp, xp.astype(number + steps_before, backend.dtype))
        number += 1
        parameters, slots = [], []
        for i, gradient in enumerate(gradients):
            block = state.parameters[i]
            if optimizer.weight_decay:
                block -= (learning_rate * optimizer.weight_decay) * decays[i] * block
            block, kept = optimizer.update(xp, block, gradient, state.slots[i], learning_rate, number)
            parameters.append(block)
            slots.append(kept)
        return State(tuple(parameters), buffers, tuple(slots), state.learning_rate, number), {"loss": value}

    return step


def loss_and_gradient(
    backend: Backend,
    network: Layer,
    loss: Loss,
    layout: Layout,
    decays: tuple[Array, ...] = (),
    l2: float = 0.0,
    seed: int = 0,
    steps_before: int = 0,
) -> Callable[[Namespace, State, tuple[Array, ...]], tuple[Array, Blocks, Blocks]]:
    """The loss of a batch, its gradient as blocks, and the buffers that come of it.

    A batch is (x, target, weight), with weights that sum to 1. The penalty l2 / (2 n) times the sum of all w^2
    that `decays` marks is part of the loss, n being the batch's total weight: 1 / n is the first of a fourth
    array, where the batch has one, and else of the weights, which are then all the same.
    """
    floats = as_floats(backend, network)

    def differentiate(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[Array, Blocks, Blocks]:
        x, target, weight = batch[:3]
        p = layout.unpack(xp, state.parameters, state.buffers)
        step = state.step + steps_before if steps_before else state.step
        ctx = Context(training=True, seed=seed, step=step)
        prediction, saved = network.forward(xp, p, floats(xp, x), ctx)
        value, dprediction = loss(xp, prediction, target, weight)
        buffers = state.buffers
        if network.updates_buffers:
            buffers = layout.pack_buffers(xp, network.update_buffers(xp, p, saved), p)
        _, gradients = network.backward(xp, p, saved, dprediction, need_dx=False)
        blocks = list(layout.pack(xp, gradients))
        if l2:
            share = l2 * batch[-1][0, ...]
            for i, block in enumerate(state.parameters):
                pull = share * (decays[i] * block)
                value = value + 0.5 * xp.sum(pull * block)
                blocks[i] += pull
        return value, tuple(blocks), buffers

    return differentiate


def evaluation_step(backend: Backend, network: Layer, loss: Loss, layout: Layout) -> Step:
    """The step that measures loss and metrics; the weights of all batches together sum to 1."""
    floats = as_floats(backend, network)
    metrics = metrics_of(loss)

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        x, target, weight = batch
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(xp, x), Context())
        value, _ = loss(xp, prediction, target, weight)
        measured = {name: metric(xp, prediction, target, weight) for name, metric in metrics.items()}
        return state, {"loss": value, **measured}

    return step


def prediction_step(backend: Backend, network: Layer, layout: Layout) -> Step:
    """The step that gives the network's output for a batch of x alone."""
    floats = as_floats(backend, network)

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(xp, batch[0]), Context())
        return state, {"prediction": prediction}

    return step


def _clipped(xp: Namespace, gradients: tuple[Array, ...], longest: float) -> tuple[Array, ...]:
    squares = [xp.sum(gradient * gradient) for gradient in gradients]
    length = xp.sqrt(xp.sum(xp.stack(squares)))
    # As PyTorch has it; the small number spares a gradient of 0.
    factor = xp.minimum(longest / (length + 1e-6), xp.ones_like(length))
    return tuple(gradient * factor for gradient in gradients)


def as_floats(backend: Backend, network: Layer) -> Callable[[Namespace, Array], Array]:
    """Bytes travel as bytes and become floats only inside the step, a batch at a time."""
    if network.takes_bytes:
        return lambda xp, x: x
    return lambda xp, x: x if x.dtype == backend.dtype else xp.astype(x, backend.dtype)
