"""Reverse-mode derivatives of a recorded program: the rules are recorded after it, by the same namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from anynet.autodiff.rules import FLAT, INSTEAD, gradients_of
from anynet.errors import UsageError
from anynet.tracing import Namespace, NotTraceable, Program, Value
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


def recorded(function: Callable[..., Any], xp: Any, inputs: Sequence[Any], device: Any) -> tuple[Namespace, Any, Any]:
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
        raise UsageError("this function cannot be differentiated, because it changes an argument in place: copy it first")
    return recording, arrays, result


def gradients(xp: Namespace, outputs: Sequence[Value], dys: Sequence[Array], wrt: Sequence[Value]) -> list[Array | None]:
    """Record the gradient of each value in `wrt`, from those of the outputs; None where no output depends on it."""
    values = [*xp.recorder.values]
    active = _depending_on(wrt, values)
    found: dict[Value, Array] = {}

    def add(x: Value, dx: Array | None) -> None:
        if dx is not None and x in active:
            found[x] = found[x] + dx if x in found else dx

    for y, dy in zip(outputs, dys, strict=True):
        add(y, dy)
    kept = {*wrt}
    for x in reversed(values):
        dx = found.get(x) if x in kept else found.pop(x, None)
        if dx is None or x in kept:
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
    return [found.get(x) for x in wrt]


def halves(inputs: list[Value], outputs: list[Value], dys: list[Value], grads: list[Value], values: list[Value]) -> Halves:
    """Cut what has been recorded into what is computed before the gradients of the outputs are known, and after."""
    later = _depending_on(dys, values, floats_only=False)
    needed = _needed(grads, values)
    saved: dict[Value, None] = {}
    for x in grads:
        if x not in later and x.op not in _FREE:
            saved[x] = None
    for x in values:
        if x in needed and x in later:
            saved |= dict.fromkeys(y for y in x.inputs if y not in later and y.op not in _FREE)
    first = _needed([*outputs, *saved], values)
    after = [x for x in values if x in needed and x not in saved and (x in later or x.op in _FREE)]
    return Halves(
        Program([x for x in values if x in first and x not in later], inputs, [*outputs, *saved]),
        Program(after, [*saved, *dys], grads),
    )


def _depending_on(sources: Iterable[Value], values: Iterable[Value], floats_only: bool = True) -> set[Value]:
    found = {*sources}
    for x in values:
        if any(y in found for y in x.inputs) and not (floats_only and (x.dtype.kind != "f" or x.op in FLAT)):
            found.add(x)
    return found


def _needed(outputs: Iterable[Value], values: list[Value]) -> set[Value]:
    needed = {*outputs}
    for x in reversed(values):
        if x in needed:
            needed.update(x.inputs)
    return needed
