"""Reverse-mode derivatives of a recorded program: the rules are recorded after it, by the same namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from anynet.autodiff.rules import FLAT, INSTEAD, gradients_of, of_slices
from anynet.errors import UsageError
from anynet.tracing import Namespace, NotTraceable, Program, Value
from anynet.tracing.program import needed_for
from anynet.tracing.stand_ins import Array
from anynet.tracing.trace import stand_ins

# These cost less to compute again than to keep.
_FREE = ("constant", "captured", "arange")


class Halves(NamedTuple):
    """A function and its gradient as two programs.

    Attributes
    ----------
    forward : Program
        From the function's inputs to its outputs, and after them the values that `backward` reads.
    backward : Program
        From those values, and after them a gradient of each output, to the gradients of the inputs.
    """

    forward: Program
    backward: Program


def recorded(
    function: Callable[..., Any], xp: Any, inputs: Sequence[Any], device: Any = None
) -> tuple[Namespace, list[Array], Any]:
    """Call a function with stand-ins for its inputs: the namespace that has recorded it, the stand-ins, the result.

    Raises
    ------
    UsageError
        When the function does something that a program cannot record.
    """
    recording = Namespace(xp, device)
    arrays = stand_ins(recording, inputs)
    try:
        result = function(recording, *arrays)
    except NotTraceable as error:
        raise UsageError(f"this function cannot be differentiated, because of {error}") from error
    except TypeError as error:
        # What array_api_compat says, and whatever brings it along.
        if "Multiple namespaces" in str(error):
            raise UsageError(
                "this function asks for the namespace of its arguments beside arrays from outside: pass it those "
                "as arguments, too"
            ) from error
        raise
    if any(x.memory.changes for x in arrays):
        raise UsageError(
            "this function cannot be differentiated, because it changes an argument in place; copy it first"
        )
    return recording, arrays, result


def gradients(xp: Namespace, outputs: Sequence[Array], dys: Sequence[Array], wrt: Sequence[Array]) -> list[Array]:
    """Record the gradient of each array in `wrt`, from those of the outputs; 0 where no output depends on it."""
    values = [*xp.recorder.values]
    kept = {x.read() for x in wrt}
    active = _depending_on(kept, values)
    found: dict[Value, Any] = {}
    slices: dict[Value, list[tuple[Any, Array]]] = {}

    def add(x: Value, dx: Array | None) -> None:
        if dx is not None and x in active:
            found[x] = found[x] + dx if x in found else dx

    for output, dy in zip(outputs, dys, strict=True):
        add(output.read(), dy)
    for x in reversed(values):
        if x in slices:
            add(x, of_slices(xp, slices.pop(x), Array(xp, x)))
        dx = found.get(x) if x in kept else found.pop(x, None)
        if dx is None or x in kept:
            continue
        if x.op == "slice":
            # All slices of an array are put together at once: one by one, each would take as long as the whole.
            slices.setdefault(x.inputs[0], []).append((x.attributes, dx))
            continue
        inputs = [Array(xp, y) for y in x.inputs]
        wanted = [y in active for y in x.inputs]
        try:
            parts = gradients_of(xp, x.op, x.attributes, dx, Array(xp, x), inputs, wanted)
        except KeyError:
            instead = f": use {INSTEAD[x.op]}" if x.op in INSTEAD else ""
            raise UsageError(f"{x.op} has no derivative here{instead}") from None
        for y, part in zip(x.inputs, parts, strict=True):
            add(y, part)
    return [found[x.read()] if x.read() in found else xp.zeros_like(x) for x in wrt]


def differentiated(
    xp: Namespace, inputs: Sequence[Array], outputs: Sequence[Array], wrt: Sequence[Array], aux: Sequence[Array] = ()
) -> Halves:
    """Cut what has been recorded of a function, and its gradient, in two.

    Parameters
    ----------
    xp : Namespace
    inputs, outputs : sequence of arrays
        The stand-ins of the function.
    wrt : sequence of arrays
        Those of the inputs whose gradients `backward` gives.
    aux : sequence of arrays
        What `forward` gives after the outputs, and nobody differentiates.
    """
    dys = [input_like(xp, y) for y in outputs]
    grads = [x.read() for x in gradients(xp, outputs, dys, wrt)]
    values, given = xp.recorder.values, [dy.read() for dy in dys]
    later = _depending_on(given, values, floats_only=False)
    needed = needed_for(grads, values)
    of_backward = [x for x in values if x in needed and x in later]
    read = [*(y for x in of_backward for y in x.inputs), *grads]
    saved = [*dict.fromkeys(x for x in read if x not in later and x.op not in _FREE)]
    results = [*(y.read() for y in (*outputs, *aux)), *saved]
    before = needed_for(results, [x for x in values if x not in later])
    free = [x for x in values if x.op in _FREE and x in needed]
    forward = Program([x for x in values if x in before], [x.read() for x in inputs], results)
    return Halves(forward, Program([*free, *of_backward], [*saved, *given], grads))


def input_like(xp: Namespace, x: Array) -> Array:
    """One more input of the recorded program, of the shape and dtype of an array."""
    place = {"place": len(xp.recorder.values)}
    return Array(xp, xp.recorder.add("input", (), x.shape, x.dtype, **place))


def _depending_on(sources: Iterable[Value], values: Iterable[Value], floats_only: bool = True) -> set[Value]:
    found = {*sources}
    for x in values:
        if any(y in found for y in x.inputs) and not (floats_only and (x.dtype.kind != "f" or x.op in FLAT)):
            found.add(x)
    return found
