"""Steps of training, evaluation and prediction, as pure functions of state and batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from anynet.backends.base import Array, Backend, SharedStep, Step
from anynet.distributed import Communicator
from anynet.errors import UsageError, shown
from anynet.nn import Context, Layer, Layout, Loss, Optimizer
from anynet.nn.derived import value_and_gradient, value_of
from anynet.nn.layer import Namespace
from anynet.nn.layout import Blocks
from anynet.nn.regularization import clip_grad_norm, clip_grad_value, decay_weights
from anynet.tracing.trees import over_dicts
from anynet.training.inputs import flat, unflat
from anynet.training.metrics import Metric
from anynet.training.state import State

Gradient: TypeAlias = Callable[[Namespace, State, tuple[Array, ...]], tuple[Array, Blocks, Blocks]]


class Steps(NamedTuple):
    """The training steps of one device: for a batch that it has whole, and for its part of a batch."""

    whole: Step
    part: Step


def training_steps(make: Callable[[Communicator | None], Step], comm: Communicator) -> Steps:
    """Both steps, each made by a call of `make`; a single device has no parts."""
    whole = make(None)
    return Steps(whole, SharedStep(make(comm), comm) if comm.devices > 1 else whole)


def training_step(
    backend: Backend,
    differentiate: Gradient,
    optimizer: Optimizer,
    layout: Layout,
    decays: tuple[Array, ...] = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
) -> Step:
    """The step of ``backend.run`` that trains: forward, loss, backward, update.

    Parameters
    ----------
    backend : Backend
    differentiate : callable
        Made by `loss_and_gradient`.
    optimizer : Optimizer
    layout : Layout
    decays : tuple of arrays
        For each block, 1 where weight decay applies and 0 elsewhere; empty without weight decay.
    clip_norm : float, optional
        If the L2 norm of the gradient, over all parameters, is larger, it is scaled down to this value.
    clip_value : float, optional
        Each number of the gradient is limited to -clip_value and clip_value, before its norm is.
    """

    marks = decays
    if decays and not optimizer.elementwise:
        with backend.scope():
            marks = layout.split(backend.xp, decays)

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        value, gradients, buffers = differentiate(xp, state, batch)
        if clip_value is not None:
            gradients = clip_grad_value(xp, gradients, clip_value)
        if clip_norm is not None:
            gradients = clip_grad_norm(xp, gradients, clip_norm)
        learning_rate, number = state.learning_rate, state.step
        if callable(optimizer.lr):
            learning_rate = optimizer.lr(xp, xp.astype(number, backend.dtype))
        number += 1
        blocks = state.parameters
        if not optimizer.elementwise:
            blocks, gradients = layout.split(xp, blocks), layout.split(xp, gradients)
        parameters, slots = [], []
        for i, gradient in enumerate(gradients):
            block = blocks[i]
            if optimizer.weight_decay:
                block = decay_weights(block, marks[i], learning_rate * optimizer.weight_decay)
            shapes = {name: slot.shape for name, slot in state.slots[i].items()}
            block, kept = optimizer.update(xp, block, gradient, state.slots[i], learning_rate)
            if {name: slot.shape for name, slot in kept.items()} != shapes:
                raise UsageError(f"{type(optimizer).__name__}.update must return the slots of init, in their shapes")
            parameters.append(block)
            slots.append(kept)
        blocks = tuple(parameters) if optimizer.elementwise else layout.join(xp, tuple(parameters))
        return State(blocks, buffers, tuple(slots), state.learning_rate, number), {"loss": value}

    return step


def loss_and_gradient(
    backend: Backend,
    network: Layer,
    loss: Loss,
    layout: Layout,
    seed: int = 0,
    comm: Communicator | None = None,
    most_rows: int | None = None,
) -> Gradient:
    """Make the function ``(xp, state, batch) -> (loss, gradient as blocks, new buffers)``.

    Parameters
    ----------
    backend, network, loss, layout
        A batch is (x, target, weight), where x is one array or several; its weights sum to 1.
    seed : int
        For layers that draw random numbers.
    comm : Communicator, optional
        If given, a batch is this rank's part of a larger one, and loss and gradient are sums over all ranks.
    most_rows : int, optional
        A batch of more rows is computed in pieces of so many, one after the other, whose gradients are added up.
    """
    floats, indices = as_floats(backend, network), network.indices
    arrays = len(flat(indices)) + 2
    ranks = comm.devices if comm else 1
    total = partial(backend.total, comm) if comm else Context.total

    def of_piece(xp: Namespace, state: State, piece: tuple[Array, ...], ctx: Context) -> tuple[Array, Blocks, Blocks]:
        x, target, weight = unflat(indices, piece)
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, saved = network.forward(xp, p, floats(xp, x), ctx)
        value, dprediction = value_and_gradient(loss, xp, prediction, target, weight)
        buffers = state.buffers
        if network.updates_buffers:
            buffers = layout.pack_buffers(xp, network.update_buffers(xp, p, saved), p)
        _, gradients = network.backward(xp, p, saved, dprediction, need_dx=False)
        return value, layout.pack(xp, gradients), buffers

    def differentiate(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[Array, Blocks, Blocks]:
        context = partial(
            Context, training=True, seed=seed, step=state.step, ranks=ranks, total=total, scan=backend.scan
        )
        rank = backend.rank_of(comm) if comm else 0
        done = 0
        sums: list[Array] = []
        for piece in _pieces(batch[:arrays], most_rows):
            rows = piece[0].shape[0]
            # Each piece has rows of all ranks: of the first rank, then of the second, and so on.
            ctx = context(first_row=done * ranks + rank * rows)
            value, blocks, buffers = of_piece(xp, state, piece, ctx)
            state, done = state._replace(buffers=buffers), done + rows
            sums = [a + b for a, b in zip(sums, (value, *blocks), strict=True)] if sums else [value, *blocks]
        value, *totals = total(xp, *sums)
        return value, tuple(totals), state.buffers

    return differentiate


def _pieces(batch: tuple[Array, ...], most_rows: int | None) -> list[tuple[Array, ...]]:
    """A batch as pieces of so many rows; the last may have fewer."""
    rows = batch[0].shape[0]
    if most_rows is None or rows <= most_rows:
        return [batch]
    starts = range(0, rows, most_rows)
    return [tuple(array[start : min(start + most_rows, rows), ...] for array in batch) for start in starts]


def evaluation_step(backend: Backend, network: Layer, loss: Loss, metrics: tuple[Metric, ...], layout: Layout) -> Step:
    """The step that gives the loss of a batch, summed over its samples, and the totals of each metric."""
    floats, indices = as_floats(backend, network), network.indices

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        x, target, weight = unflat(indices, batch)
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(xp, x), Context(scan=backend.scan))
        totals = {"loss": value_of(loss, xp, prediction, target, weight)}
        for i, metric in enumerate(metrics):
            updated = metric.update(xp, loss, prediction, target, weight)
            if not isinstance(updated, dict):
                raise UsageError(f"{metric!r}.update must return a dict of arrays, but returns {shown(updated)}")
            totals |= {f"{i}/{name}": total for name, total in updated.items()}
        return state, totals

    return step


def prediction_step(backend: Backend, network: Layer, layout: Layout) -> Step:
    """The step that gives the network's output; a batch is (x,)."""
    floats, indices = as_floats(backend, network), network.indices

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        (x,) = unflat(indices, batch)
        p = layout.unpack(xp, state.parameters, state.buffers)
        prediction, _ = network.forward(xp, p, floats(xp, x), Context(scan=backend.scan))
        return state, {"prediction": prediction}

    return step


def as_floats(backend: Backend, network: Layer) -> Callable[[Namespace, Any], Any]:
    """Make the function that casts x to floats inside the step, so that bytes go to the device as bytes."""
    accepts = network.accepts_uint8

    def floats(xp: Namespace, x: Any) -> Any:
        return over_dicts(
            lambda x, stays: x if stays or x.dtype == backend.dtype else xp.astype(x, backend.dtype), x, accepts
        )

    return floats
