"""Tracing a function: it is called with stand-ins for arrays, and with a namespace that records each operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from anynet.tracing.program import NotTraceable, Program, StepProgram, Value, needed_for
from anynet.tracing.recorder import numpy_dtype
from anynet.tracing.stand_ins import Array, Namespace
from anynet.tracing.trees import leaves, rebuilt, structure


def trace(function: Callable[..., Any], xp: Any, inputs: Sequence[Any], device: Any = None) -> Program:
    """The program of a function.

    Parameters
    ----------
    function : callable
        ``(xp, *arrays)``, which returns an array, or nested tuples and dicts of arrays.
    xp : namespace
        The library whose default dtypes the function sees.
    inputs : sequence of arrays
        Only their shapes and dtypes are used.
    device : object, optional
        The `device` attribute of the stand-ins.

    Raises
    ------
    NotTraceable
        When the function does something that a program cannot record.

    >>> import numpy as np
    >>> [value.op for value in trace(lambda xp, x: xp.exp(x) + 1.0, np, [np.zeros(3)]).values]
    ['input', 'exp', 'constant', 'add']
    """
    recording = Namespace(xp, device)
    arrays = stand_ins(recording, inputs)
    outputs = values_of(recording, function(recording, *arrays), arrays)
    return program_of(recording, [x.read() for x in arrays], outputs)


def stand_ins(recording: Namespace, inputs: Sequence[Any]) -> list[Array]:
    """A stand-in for each input of a function."""
    add = recording.recorder.add
    return [Array(recording, add("input", (), x.shape, numpy_dtype(x.dtype), place=i)) for i, x in enumerate(inputs)]


def values_of(recording: Namespace, result: Any, inputs: Sequence[Array]) -> list[Value]:
    """The values that a function has returned; an array of elsewhere, or a number, is captured."""
    if any(x.memory.changes for x in inputs):
        raise NotTraceable("an argument that is changed in place")
    return [recording.read(x) for x in leaves(result)]


def program_of(recording: Namespace, inputs: list[Value], outputs: list[Value]) -> Program:
    """What has been recorded, as far as the outputs need it."""
    needed = needed_for(outputs, recording.recorder.values)
    return Program([x for x in recording.recorder.values if x in needed], inputs, outputs)


def trace_step(
    step: Callable[[Any, Any, tuple[Any, ...]], tuple[Any, dict[str, Any]]],
    xp: Any,
    state: Any,
    batch: tuple[Any, ...],
    device: Any = None,
) -> StepProgram:
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
    >>> program = trace_step(lambda xp, s, b: (s + b[0], {"sum": xp.sum(b[0])}), np, np.zeros(3), (np.ones(3),))
    >>> [value.op for value in program.values]
    ['input', 'input', 'add', 'sum', 'reshape']
    """
    program = _traced(step, xp, state, batch, device)
    described = _described(program, xp)
    again = _described(_traced(step, xp, state, batch, device), xp)
    if described[0] != again[0] or not all(map(partial(_same, xp), described[1], again[1])):
        raise NotTraceable("a step that does something else each time, as when a layer draws with numpy.random")
    return program


def _traced(step: Callable[..., Any], xp: Any, state: Any, batch: tuple[Any, ...], device: Any) -> StepProgram:
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
    return StepProgram([value for value in values if value in needed], old, given, new, outputs)


def _described(program: StepProgram, xp: Any) -> tuple[list[Any], list[Any]]:
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
