"""Tracing a step: it is called with stand-ins for arrays, and with a namespace that records each operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from anynet.tracing.program import NotTraceable, Program, needed_for
from anynet.tracing.stand_ins import Array, Namespace
from anynet.tracing.trees import leaves, rebuilt, structure


def trace(
    step: Callable[[Any, Any, tuple[Any, ...]], tuple[Any, dict[str, Any]]],
    xp: Any,
    state: Any,
    batch: tuple[Any, ...],
    device: Any = None,
) -> Program:
    """The program of a step. The step is called twice, and must do the same with equal arrays both times.

    Parameters
    ----------
    step : callable
        ``(xp, state, batch) -> (state, metrics)``.
    xp : namespace
        The library whose dtypes and constants the step sees; the dtypes must be NumPy's.
    state : nested tuples and dicts of arrays
        Only its shapes and dtypes are used.
    batch : tuple of arrays
        Only its shapes and dtypes are used.
    device : object, optional
        The `device` attribute of the stand-ins.

    Raises
    ------
    NotTraceable
        When the step does something that a program cannot record, or does not do the same each time.

    >>> import numpy as np
    >>> program = trace(lambda xp, s, b: (s + b[0], {"sum": xp.sum(b[0])}), np, np.zeros(3), (np.ones(3),))
    >>> [value.op for value in program.values]
    ['input', 'input', 'add', 'sum', 'reshape']
    """
    program = _traced(step, xp, state, batch, device)
    described = _described(program, xp)
    again = _described(_traced(step, xp, state, batch, device), xp)
    if described[0] != again[0] or not all(map(partial(_same, xp), described[1], again[1])):
        raise NotTraceable("a step that does something else each time, as when a layer draws with numpy.random")
    return program


def _traced(step: Callable[..., Any], xp: Any, state: Any, batch: tuple[Any, ...], device: Any) -> Program:
    recording = Namespace(xp, device)
    add = recording.recorder.add
    old = [add("input", (), x.shape, x.dtype, state=i) for i, x in enumerate(leaves(state))]
    given = [add("input", (), x.shape, x.dtype, batch=i) for i, x in enumerate(batch)]
    stand_ins = rebuilt(state, iter([Array(recording, value) for value in old]))
    batch_there = tuple(Array(recording, value) for value in given)
    after, metrics = step(recording, stand_ins, batch_there)
    if any(x.memory.changes for x in batch_there):
        raise NotTraceable("a batch that is changed in place")
    if not all(isinstance(x, Array) for x in (*leaves(after), *metrics.values())):
        raise NotTraceable("a state or a metric that is not computed from arrays")
    new = [x.read() for x in leaves(after)]
    kinds = ([(x.shape, x.dtype) for x in values] for values in (old, new))
    if structure(after) != structure(stand_ins) or next(kinds) != next(kinds):
        raise NotTraceable("a state that changes its structure, a shape or a dtype")
    outputs = {name: x.read() for name, x in metrics.items()}
    values = recording.recorder.values
    needed = needed_for([*new, *outputs.values()], values)
    return Program([value for value in values if value in needed], old, given, new, outputs)


def _described(program: Program, xp: Any) -> tuple[list[Any], list[Any]]:
    """A description of a program that can be compared, and a copy of each array that the program has captured."""
    numbers = {x: i for i, x in enumerate(program.values)}
    words = [
        (x.op, [numbers[y] for y in x.inputs], x.shape, x.dtype, repr({**x.attributes, "array": None}))
        for x in program.values
    ]
    captured = [xp.asarray(x.attributes["array"], copy=True) for x in program.values if x.op == "captured"]
    return words, captured


def _same(xp: Any, x: Any, y: Any) -> bool:
    same = x == y
    return bool(xp.all(same | (xp.isnan(x) & xp.isnan(y)) if x.dtype.kind in "fc" else same))
