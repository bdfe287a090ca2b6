"""Activations and gradients of a model, for inspection; the model does not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from anynet.backends.base import Array, Backend, Step
from anynet.model.base import BaseModel
from anynet.model.data_validation import check_inputs, check_samples
from anynet.nn import Context, Layer, Layout, Loss
from anynet.nn.branches import Branches
from anynet.nn.containers import children, container_in, through
from anynet.nn.layer import Namespace
from anynet.training.batches import EVALUATION_BATCH, chunks
from anynet.training.inputs import flat, shape_of, unflat
from anynet.training.state import State
from anynet.training.step import as_floats, loss_and_gradient


def activations(model: BaseModel, x: Any) -> dict[str, Any]:
    """The output of every layer for each sample, by the name of the layer; see `Model.activations`."""
    x = check_inputs(x, model.input_shape, model.network.indices)
    model._ensure_built(shape_of(x))
    step = _kept(model, activation_step, model.backend, model.network, model.layout)
    state = model.read_state()
    pieces: dict[str, list[Any]] = {}
    for chunk in chunks(model.backend, flat(x), EVALUATION_BATCH):
        for name, output in _read(model.backend, step, state, chunk.arrays).items():
            pieces.setdefault(name, []).append(output.reshape(chunk.steps * chunk.batch_size, *output.shape[2:]))
    # JAX sorts dicts by key, so restore the order of the layers.
    return {name: np.concatenate(pieces[name]) for name in map(".".join, _shown(model.network))}


def gradients(model: BaseModel, x: Any, y: Any, sample_weight: Any = None) -> dict[str, Any]:
    """The gradient of the loss of one batch, by the name of the parameter; see `Model.gradients`."""
    samples = check_samples(model.network, model.loss, model.input_shape, x, y, sample_weight)
    shape, x, target, weight = samples
    model._ensure_built(shape)
    step = _kept(model, gradient_step, model.backend, model.network, model.loss, model.layout, model.seed)
    batch = (np.asarray(array)[None] for array in flat(x, target, weight / weight.sum()))
    arrays = tuple(model.backend.asarray(array) for array in batch)
    found = _read(model.backend, step, model.read_state(), arrays)
    return {entry.name: found[entry.name][0] for entry in model.layout.parameters}


def activation_step(backend: Backend, network: Layer, layout: Layout) -> Step:
    """The step that gives the output of every layer; a batch is (x,)."""
    floats, indices, shown = as_floats(backend, network), network.indices, {*_shown(network)}

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        outputs: dict[str, Array] = {}

        def apply(path: tuple[str, ...], p: Any, layer: Layer, x: Array, ctx: Context) -> Array:
            if children(layer):
                y = through(layer, xp, x, ctx, lambda name, *inner: apply((*path, name), p[name], *inner))
            else:
                y, _ = layer.forward(xp, p, x, ctx)
            if path in shown:
                outputs[".".join(path)] = y
            return y

        (x,) = unflat(indices, batch)
        apply(
            (), layout.unpack(xp, state.parameters, state.buffers), network, floats(xp, x), Context(scan=backend.scan)
        )
        return state, outputs

    return step


def _shown(layer: Layer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all layers; of the containers, those alone whose output is not that of their last layer."""
    inside = children(layer)
    for name, inner in inside:
        yield from _shown(inner, (*path, name))
    if not inside or isinstance(container_in(layer), Branches):
        yield path


def gradient_step(backend: Backend, network: Layer, loss: Loss, layout: Layout, seed: int) -> Step:
    """The step that gives the gradient of a batch's loss, by parameter, as in a training step before clipping."""
    differentiate = loss_and_gradient(backend, network, loss, layout, seed)

    def step(xp: Namespace, state: State, batch: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
        _, blocks, _ = differentiate(xp, state, batch)
        return state, {entry.name: entry.view(xp, blocks) for entry in layout.parameters}

    return step


def _read(backend: Backend, step: Step, state: State, batches: tuple[Array, ...]) -> dict[str, Any]:
    """The results of a step that does not change the state, as NumPy arrays."""
    _, metrics = backend.run(step, state, batches, donate=False)
    return {name: np.array(backend.to_numpy(metric)) for name, metric in metrics.items()}


def _kept(model: BaseModel, make: Callable[..., Step], *parts: Any) -> Step:
    """Make a step, or return the last one if its parts are the same, since backends cache compiled code by step."""
    steps = vars(model).setdefault("_inspections", {})
    if make not in steps or any(new is not old for new, old in zip(parts, steps[make][0], strict=True)):
        steps[make] = parts, make(*parts)
    kept: Step = steps[make][1]
    return kept
