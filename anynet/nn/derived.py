"""Layers that state `forward` alone, and losses that state their value alone: their gradients are derived."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, NamedTuple

from anynet.autodiff.reverse import Halves, differentiated, gradients, recorded
from anynet.errors import UsageError, shown
from anynet.tracing import Namespace, Program, Value, evaluate
from anynet.tracing.program import VIEWS, needed_for
from anynet.tracing.stand_ins import Array, default_dtypes
from anynet.tracing.trace import program_of
from anynet.tracing.trees import leaves, over_dicts, rebuilt, structure

# So many programs are kept: of different layers, and of batches of different sizes.
MOST_KEPT = 256
# What a layer may know of a forward pass: arrays are inputs, and all else is a part of the key.
_OF_CONTEXT = ("training", "seed", "step", "ranks", "first_row", "total", "scan", "mask")
_derived: dict[Any, Any] = {}


class Derived(NamedTuple):
    """A layer's forward, and the backward that follows from it, for arrays of fixed shapes and dtypes.

    Attributes
    ----------
    halves : Halves
        Backward gives the gradient of each of `names`, and after them that of x.
    without_dx : Program
        Backward without the gradient of x.
    names : list of tuple of str
        The path of each trainable parameter.
    x : None or dict
        What x is: an array, or a dict of arrays.
    kept : nested tuples and dicts
        What forward returned beside its output; each array is replaced by its number among the outputs.
    """

    halves: Halves
    without_dx: Program
    names: list[tuple[str, ...]]
    x: Any
    kept: Any


class Saved(NamedTuple):
    """What the derived backward needs, and what `update_buffers` needs."""

    derived: Derived
    arrays: list[Any]
    kept: Any


class _Number(int):
    """The number of an array among the outputs of a program."""


def forward(layer: Any, formula: Callable[..., Any], xp: Any, p: Any, x: Any, ctx: Any) -> tuple[Any, Saved]:
    """The output of ``formula(layer, xp, p, x, ctx)``, and what the derived backward needs."""
    changing = {name: value for name in _OF_CONTEXT if hasattr(value := getattr(ctx, name), "dtype")}
    inputs = p, x, changing
    derived = _derivation(layer, formula, xp, inputs, ctx)
    results = evaluate(derived.halves.forward, xp, leaves(inputs), getattr(leaves(x)[0], "device", None))
    told = leaves(derived.kept)
    kept = rebuilt(derived.kept, (results[one] if isinstance(one, _Number) else one for one in told))
    others = sum(isinstance(one, _Number) for one in told)
    return results[0], Saved(derived, results[1 + others :], kept)


def backward(xp: Any, saved: Saved, dy: Any, need_dx: bool = True) -> tuple[Any, Any]:
    """The gradient with respect to x, and those of the trainable parameters by name."""
    derived = saved.derived
    program = derived.halves.backward if need_dx else derived.without_dx
    found = _evaluated(program, xp, [*saved.arrays, dy], dy)
    named: dict[str, Any] = {}
    for (*path, name), gradient in zip(derived.names, found, strict=False):
        inner = named
        for part in path:
            inner = inner.setdefault(part, {})
        inner[name] = gradient
    return rebuilt(derived.x, iter(found[len(derived.names) :])) if need_dx else None, named


def halves(function: Callable[..., tuple[Any, ...]], xp: Any, arrays: Sequence[Any]) -> Halves:
    """A function of arrays that returns several, and its gradients with respect to those of floating-point numbers."""
    key = function, tuple((x.shape, str(x.dtype)) for x in arrays), tuple(default_dtypes(xp).values())
    known: Halves | None = _derived.get(key)
    if known is None:
        recording, given, outputs = recorded(function, xp, arrays)
        known = differentiated(recording, given, outputs, [x for x in given if x.read().dtype.kind == "f"])
        _keep(key, known)
    return known


def value_and_gradient(loss: Any, xp: Any, prediction: Any, target: Any, weight: Any) -> tuple[Any, Any]:
    """The value of a loss and its gradient, which is derived if the loss returns its value alone."""
    result = loss(xp, prediction, target, weight)
    if isinstance(result, tuple):
        return result
    given = [prediction, target, weight]
    recording, arrays, value = recorded(loss, xp, given)
    (gradient,) = gradients(recording, [value], [recording.ones((), dtype=value.dtype)], arrays[:1])
    program = program_of(recording, [x.read() for x in arrays], [value.read(), gradient.read()])
    value, gradient = _evaluated(program, xp, given, prediction)
    return value, gradient


def value_of(loss: Any, xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
    """The value of a loss, which may return a gradient after it."""
    result = loss(xp, prediction, target, weight)
    return result[0] if isinstance(result, tuple) else result


def output_shape(function: Callable[..., Any], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of ``function(xp, x)`` for x of this shape, without computing it."""
    outside = Namespace(None)
    found = recorded(function, None, [outside.zeros(shape)])[2]
    if not isinstance(found, Array):
        raise UsageError(f"expected a function that returns an array, but it returned {shown(found)}")
    return tuple(found.shape)


def _evaluated(program: Program, xp: Any, inputs: list[Any], like: Any) -> list[Any]:
    """The outputs of a program, each in memory of its own, since others may change it in place."""
    found = evaluate(program, xp, inputs, getattr(like, "device", None))
    sources = [_source(x) for x in program.outputs]
    given = {None, *program.inputs}
    return [
        xp.asarray(array, copy=True) if source in given or sources.count(source) > 1 else array
        for source, array in zip(sources, found, strict=True)
    ]


def _source(x: Value) -> Value | None:
    """The value whose memory a view has; None where several places of it are the same, or each call has the same."""
    if x.op in ("broadcast_to", "constant", "captured", "arange"):
        return None
    return _source(x.inputs[0]) if x.op in VIEWS else x


def _derivation(layer: Any, formula: Callable[..., Any], xp: Any, inputs: Any, ctx: Any) -> Derived:
    """The derivation of a layer for such inputs, made once."""
    arrays = leaves(inputs)
    shapes = tuple((x.shape, str(x.dtype)) for x in arrays)
    told = tuple(getattr(ctx, name) for name in _OF_CONTEXT if name not in inputs[2])
    around = structure(inputs), shapes, tuple(default_dtypes(xp).values()), told
    try:
        key = (_settings(layer), *around)
        known = _derived.get(key)
    except (TypeError, RecursionError):
        # The layer has a list, or an array, among its settings, or something that refers to itself.
        return _derive(layer, formula, xp, inputs, ctx)
    if known is None:
        known = _derive(layer, formula, xp, inputs, ctx)
        # What is captured may belong to one call alone, such as a tracer of JAX.
        if not any(x.op == "captured" for half in known.halves for x in half.values):
            _keep(key, known)
    return known


def _keep(key: Any, made: Any) -> None:
    # A list, for other threads may change the dict meanwhile.
    for oldest in list(_derived)[: max(len(_derived) + 1 - MOST_KEPT, 0)]:
        _derived.pop(oldest, None)
    _derived[key] = made


def _settings(part: Any) -> Any:
    """A layer and all that it holds; a part that is equal to itself alone may hold something else by the next call."""
    if isinstance(part, tuple):
        return type(part), *map(_settings, part)
    own = () if isinstance(part, (type, ModuleType)) else getattr(part, "__dict__", {}).items()
    return type(part), part, *((name, _settings(value)) for name, value in own)


def _derive(layer: Any, formula: Callable[..., Any], xp: Any, inputs: Any, ctx: Any) -> Derived:
    recording, arrays, result = recorded(
        lambda xp, *arrays: _called(layer, formula, xp, rebuilt(inputs, iter(arrays)), ctx), xp, leaves(inputs)
    )
    y, kept = result if isinstance(result, tuple) else (result, ())
    names = _trainable(layer.parameters(over_dicts(lambda x: x.shape[1:], inputs[1]))[0])
    p, x, _ = rebuilt(inputs, iter(arrays))
    parameters = [_at(p, path) for path in names]
    told = leaves(kept) if layer.updates_buffers else []
    both = differentiated(
        recording, arrays, [y], [*parameters, *leaves(x)], [one for one in told if isinstance(one, Array)]
    )
    grads = both.backward.outputs[: len(names)]
    needed = needed_for(grads, both.backward.values)
    without_dx = both.backward._replace(values=[x for x in both.backward.values if x in needed], outputs=grads)
    numbers = iter(range(1, len(told) + 1))
    places = (_Number(next(numbers)) if isinstance(one, Array) else one for one in told)
    shape = over_dicts(lambda _: None, inputs[1])
    return Derived(both, without_dx, names, shape, rebuilt(kept, places) if told else ())


def _called(layer: Any, formula: Callable[..., Any], xp: Namespace, inputs: Any, ctx: Any) -> Any:
    p, x, changing = inputs
    return formula(layer, xp, p, x, replace(ctx, **changing))


def _trainable(specs: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all trainable parameters."""
    found = []
    for name, spec in specs.items():
        if isinstance(spec, Mapping):
            found += _trainable(spec, (*path, name))
        elif spec.trainable:
            found.append((*path, name))
    return found


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree[name]
    return tree
