"""Evaluating a program: its operations are computed, one by one, by the functions of a library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from anynet.tracing.program import ALONG_AN_AXIS, ELEMENTWISE, REDUCTIONS, Program, Value
from anynet.tracing.stand_ins import Namespace


def evaluate(program: Program, xp: Any, inputs: Sequence[Any], device: Any = None) -> list[Any]:
    """Compute the outputs of a program on these inputs. An array is dropped after its last use.

    >>> import numpy as np
    >>> from anynet.tracing import trace
    >>> evaluate(trace(lambda xp, x: xp.exp(x) + 1.0, np, [np.zeros(2)]), np, [np.asarray([0.0, 1.0])])[0].round(3)
    array([2.   , 3.718])
    """
    last = {y: i for i, x in enumerate(program.values) for y in x.inputs}
    results = dict(zip(program.inputs, inputs, strict=True))
    kept = {*program.outputs}
    for i, x in enumerate(program.values):
        if x.op != "input":
            results[x] = compute(xp, x, _operands(x, results), device)
        for y in {*x.inputs, x}:
            if last.get(y, -1) <= i and y not in kept:
                del results[y]
    return [results[x] for x in program.outputs]


def _operands(x: Value, results: dict[Value, Any]) -> list[Any]:
    """The inputs of an operation; beside arrays, a constant stays a number, which costs a library nothing."""
    arrays = [results[y] for y in x.inputs]
    may_be_numbers = range(x.op == "where", len(arrays))
    constants = [i for i in may_be_numbers if x.inputs[i].op == "constant"]
    # Numbers alone would not have the operation's dtype.
    if x.op not in ELEMENTWISE or len(constants) == len(may_be_numbers):
        return arrays
    for i in constants:
        arrays[i] = x.inputs[i].attributes["number"]
    return arrays


def compute(xp: Any, value: Value, inputs: Sequence[Any], device: Any = None) -> Any:
    """Compute one operation with a library's own functions, from the arrays of its inputs.

    >>> import numpy as np
    >>> total = Value("sum", (), (2, 1), np.dtype(int), {"axes": (1,)})
    >>> compute(np, total, [np.asarray([[1, 2], [3, 4]])])
    array([[3],
           [7]])
    """
    told = value.attributes
    if value.op in ("constant", "arange"):
        made = {"dtype": dtype_in(xp, value.dtype), "device": device}
        return xp.arange(value.size, **made) if value.op == "arange" else xp.asarray(told["number"], **made)
    if value.op == "captured":
        array = told["array"]
        # A list, and an array of NumPy, may stand beside any library's arrays.
        return xp.asarray(array, device=device) if isinstance(array, np.ndarray) and xp is not np else array
    if value.op in _IN_OTHER_WORDS:
        return _IN_OTHER_WORDS[value.op](xp, value, *inputs)
    if value.op in ("argmax", "argmin"):
        told = {"axis": told["axes"][0], "keepdims": True}
    elif value.op in REDUCTIONS:
        dtype = {"dtype": dtype_in(xp, value.dtype)} if value.op in ("sum", "prod") else {}
        told = {"axis": told["axes"], "keepdims": True, **dtype}
    elif value.op in ALONG_AN_AXIS:
        told = {"axis": told["axis"]}
    return getattr(xp, value.op)(*inputs, **told)


def dtype_in(xp: Any, dtype: Any) -> Any:
    """A library's own dtype for one of NumPy; the next smaller where it has none of 8 bytes, as JAX by default."""
    name = dtype.name
    if dtype.itemsize == 8 and not isinstance(xp, Namespace) and name not in xp.__array_namespace_info__().dtypes():
        name = name.replace("64", "32")
    return getattr(xp, name)


def segment_sum(xp: Any, x: Any, segment_ids: Any, num_segments: int) -> Any:
    """The sums of those rows of x that have the same id, by a library's own scatter-add, or else by sorting.

    The rows of a segment are added in their order, so that the sums are the same each time. Only JAX on a GPU may add
    in any order.

    Parameters
    ----------
    x : array of shape (rows, ...)
    segment_ids : array of int of shape (rows,)
        Each at least 0 and below `num_segments`.

    >>> import numpy as np
    >>> segment_sum(np, np.asarray([1.0, 2.0, 4.0]), np.asarray([2, 0, 2]), 3)
    array([2., 0., 5.])
    """
    own = getattr(xp, "segment_sum", None)
    if own is not None:
        return own(x, segment_ids, num_segments)
    zeros = xp.zeros((num_segments, *x.shape[1:]), dtype=x.dtype, device=getattr(x, "device", None))
    if isinstance(zeros, np.ndarray):
        return _added_by_numpy(zeros, x, segment_ids)
    if hasattr(zeros, "index_add"):
        # Of PyTorch's two functions, this one is deterministic on CPUs, and the other one on GPUs.
        if zeros.device.type == "cpu":
            return zeros.index_add(0, segment_ids, x)
        return zeros.index_put((xp.astype(segment_ids, xp.int64),), x, accumulate=True)
    if hasattr(zeros, "at"):
        return zeros.at[segment_ids].add(x)
    return _added_by_sorting(xp, zeros, x, segment_ids)


def _added_by_numpy(zeros: Any, x: Any, segment_ids: Any) -> Any:
    # NumPy adds single numbers several times faster than rows.
    width = math.prod(x.shape[1:])
    places = np.asarray(segment_ids, np.intp)[:, None] * width + np.arange(width)
    np.add.at(zeros.reshape(-1), places.reshape(-1), np.reshape(x, -1))
    return zeros


def _added_by_sorting(xp: Any, zeros: Any, x: Any, segment_ids: Any) -> Any:
    """The differences of a cumulative sum over sorted rows; in float64, since much may cancel in them."""
    order = xp.argsort(segment_ids)
    ids = xp.take(segment_ids, order)
    wide = xp.float64 if xp.isdtype(x.dtype, "real floating") else x.dtype
    # There may be no segment, and so no row in zeros.
    before = xp.zeros((1, *x.shape[1:]), dtype=x.dtype, device=getattr(x, "device", None))
    rows = xp.concat([before, xp.take(x, order, axis=0)])
    sums = xp.cumulative_sum(rows, axis=0, dtype=wide)
    segments = xp.arange(zeros.shape[0], dtype=ids.dtype, device=getattr(ids, "device", None))
    first, end = (xp.searchsorted(ids, segments, side=side) for side in ("left", "right"))
    return xp.astype(xp.take(sums, end, axis=0) - xp.take(sums, first, axis=0), x.dtype)


def _all_reduced(xp: Any, value: Value, x: Any) -> Any:
    function = value.attributes["function"]
    return xp.all_reduce(function, x) if isinstance(xp, Namespace) else function(x, xp.empty_like(x))


def _sliced(xp: Any, value: Value, x: Any) -> Any:
    starts, steps = value.attributes["starts"], value.attributes["steps"]
    # PyTorch has no steps backwards.
    backwards = tuple(axis for axis, step in enumerate(steps) if step < 0)
    x = xp.flip(x, axis=backwards) if backwards else x
    parts = []
    for axis, (start, step, count) in enumerate(zip(starts, steps, value.shape, strict=True)):
        first = x.shape[axis] - 1 - start if step < 0 else start
        parts.append(slice(first, min(first + count * abs(step), x.shape[axis]), abs(step)))
    return x[tuple(parts)]


def _multiplied(xp: Any, value: Value, *inputs: Any) -> Any:
    # dpnp multiplies nothing that was broadcast, for want of strides that a BLAS takes.
    return xp.matmul(*(xp.asarray(x, copy=True) if 0 in getattr(x, "strides", ()) else x for x in inputs))


_IN_OTHER_WORDS: dict[str, Callable[..., Any]] = {
    "matmul": _multiplied,
    "reshape": lambda xp, value, x: xp.reshape(x, value.shape),
    "broadcast_to": lambda xp, value, x: xp.broadcast_to(x, value.shape),
    "permute_dims": lambda xp, value, x: xp.permute_dims(x, value.attributes["axes"]),
    "slice": _sliced,
    "astype": lambda xp, value, x: xp.astype(x, dtype_in(xp, value.dtype)),
    "all_reduce": _all_reduced,
    "concat": lambda xp, value, *arrays: xp.concat(arrays, axis=value.attributes["axis"]),
    "segment_sum": lambda xp, value, x, ids: segment_sum(xp, x, ids, value.shape[0]),
}
