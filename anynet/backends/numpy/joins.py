"""Joining arrays: several that lie at equal distances in memory, such as the slices of one, are copied at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from anynet.backends.base import Array
from anynet.tracing import StepProgram, Value
from anynet.tracing.program import VIEWS


def in_steps(numbers: Sequence[int], arrays: Sequence[Array], axis: int) -> Iterator[tuple[Sequence[int], Array]]:
    """Those of the arrays with these numbers, to be laid side by side along an axis, as few larger ones.

    Each has a new axis for the arrays, before the one along which they are joined.

    >>> x = np.arange(5.0)
    >>> [(several, array.tolist()) for several, array in in_steps([0, 1, 2], [x[:3], x[1:4], x[2:5]], 0)]
    [([0, 1, 2], [[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])]
    """
    while numbers:
        first, count, step = arrays[numbers[0]], 1, 0
        for i, j in pairwise(numbers):
            distance = _address(arrays[j]) - _address(arrays[i])
            if not _are_alike(first, arrays[j]) or (count > 1 and distance != step):
                break
            count, step = count + 1, distance
        shape = (*first.shape[:axis], count, *first.shape[axis:])
        strides = (*first.strides[:axis], step, *first.strides[axis:])
        yield numbers[:count], as_strided(first, shape, strides, writeable=False)
        numbers = numbers[count:]


def as_one_view(arrays: Sequence[Array], axis: int, shape: tuple[int, ...]) -> Array | None:
    """The arrays side by side along an axis without a copy, since they overlap; None if that cannot be.

    >>> x = np.arange(5.0)
    >>> as_one_view([x[:4, None], x[1:, None]], 1, (4, 2)).tolist()
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]
    """
    (_, whole), *others = in_steps(range(len(arrays)), arrays, axis)
    view = whole.reshape(shape) if not others else None
    return view if view is not None and np.may_share_memory(view, arrays[0]) else None


def _are_alike(x: Array, y: Array) -> bool:
    return (x.shape, x.strides, x.dtype) == (y.shape, y.strides, y.dtype) and _owner(x) is _owner(y)


def _address(x: Array) -> int:
    return x.__array_interface__["data"][0]  # type: ignore[no-any-return]


def _owner(x: Any) -> Any:
    """The object that holds the memory of an array."""
    return x if getattr(x, "base", None) is None else _owner(x.base)


def read_by(program: StepProgram, *ops: str) -> set[Value]:
    """The values that are read by these operations alone, directly or through views."""
    outside: set[Value] = {*program.new_state, *program.metrics.values()}
    for x in reversed(program.values):
        if x.op not in ops and (x.op not in VIEWS or x in outside):
            outside.update(x.inputs)
    return {x for x in program.values if x not in outside}
