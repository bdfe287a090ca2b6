"""Recording operations: equal ones are recorded once, and each cast and each view is an operation of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from anynet.tracing.program import NotTraceable, Value


class Recorder:
    """The operations of one function, in order.

    Attributes
    ----------
    snapshot : callable
        What to record for an array from outside: the array, or a copy where it may be changed meanwhile.
    """

    def __init__(self) -> None:
        self.snapshot: Callable[[Any], Any] = lambda array: array
        self.values: list[Value] = []
        self._known: dict[Any, Value] = {}

    def add(self, op: str, inputs: Sequence[Value], shape: Sequence[int], dtype: Any, **told: Any) -> Value:
        inputs, shape, dtype = tuple(inputs), tuple(shape), np.dtype(dtype)
        # Numbers are compared by their repr, since 0.0 == -0.0 although they are different constants.
        words = id(told["array"]) if "array" in told else repr(told) if told else ""
        key = op, inputs, shape, dtype, words
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Value(op, inputs, shape, dtype, told)
            self.values.append(known)
        return known

    def constant(self, number: Any, dtype: Any) -> Value:
        return self.add("constant", (), (), dtype, number=np.asarray(number, dtype).item())

    def captured(self, array: Any) -> Value:
        array = self.snapshot(array)
        return self.add("captured", (), array.shape, numpy_dtype(array.dtype), array=array)

    def cast(self, x: Value, dtype: Any) -> Value:
        if x.dtype == dtype:
            return x
        if x.op == "constant":
            return self.constant(x.attributes["number"], dtype)
        return self.add("astype", (x,), x.shape, dtype)

    def elementwise(self, op: str, inputs: Sequence[Value]) -> Value:
        dtype = inputs[-1].dtype
        if op != "where":
            dtype = _dtype_of(op, *(x.dtype for x in inputs))
            # Functions such as divide or exp cast integers to floats first.
            if dtype.kind == "f" and not any(x.dtype.kind == "c" for x in inputs):
                inputs = [self.cast(x, dtype) for x in inputs]
        return self.add(op, inputs, np.broadcast_shapes(*(x.shape for x in inputs)), dtype)

    def full(self, shape: Any, number: Value) -> Value:
        return self.broadcast_to(number, (shape,) if isinstance(shape, int) else tuple(shape))

    def broadcast_to(self, x: Value, shape: tuple[int, ...]) -> Value:
        return x if x.shape == shape else self.add("broadcast_to", (x,), shape, x.dtype)

    def reshape(self, x: Value, shape: Any) -> Value:
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if -1 in shape:
            shape = tuple(x.size // -math.prod(shape) if length == -1 else length for length in shape)
        if math.prod(shape) != x.size:
            raise NotTraceable(f"reshape from {x.shape} to {shape}")
        source = x.inputs[0] if x.op == "reshape" else x
        return source if source.shape == shape else self.add("reshape", (source,), shape, x.dtype)

    def permute_dims(self, x: Value, axes: Sequence[int]) -> Value:
        axes = tuple(axis % len(x.shape) for axis in axes)
        return self.add("permute_dims", (x,), [x.shape[axis] for axis in axes], x.dtype, axes=axes)

    def slice(self, x: Value, key: Any) -> Value:
        """Basic indexing: integers, slices, None and an ellipsis."""
        parts, kept = places(key, x.shape)
        starts, steps = tuple(part.start for part in parts), tuple(part.step for part in parts)
        sizes = tuple(map(len, parts))
        if sizes != x.shape or any(step != 1 for step in steps):
            x = self.add("slice", (x,), sizes, x.dtype, starts=starts, steps=steps)
        return self.reshape(x, kept)

    def reduce(self, op: str, x: Value, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Value:
        axes = range(len(x.shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = tuple(sorted(axis % len(x.shape) for axis in axes))
        if op in ("sum", "prod"):
            x = self.cast(x, dtype or _dtype_of(op, x.dtype))
        elif dtype is not None:
            raise NotTraceable(f"{op} with a dtype")
        if op in ("argmax", "argmin") and len(axes) != 1:
            x, axes = self.reshape(x, (x.size,)), (0,)
            if keepdims:
                raise NotTraceable(f"{op} over several axes with keepdims")
        dtype = np.int64 if op in ("argmax", "argmin") else np.bool_ if op in ("all", "any") else x.dtype
        kept = [1 if axis in axes else length for axis, length in enumerate(x.shape)]
        reduced = self.add(op, (x,), kept, dtype, axes=axes) if axes else self.cast(x, dtype)
        return reduced if keepdims else self.reshape(reduced, [n for axis, n in enumerate(x.shape) if axis not in axes])

    def matmul(self, x: Value, y: Value) -> Value:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        return self.add("matmul", (x, y), (*batch, x.shape[-2], y.shape[-1]), x.dtype)

    def along(self, op: str, x: Value, axis: int, dtype: Any = None) -> Value:
        """A function of all numbers along an axis, which keeps the shape."""
        return self.add(op, (x,), x.shape, dtype or x.dtype, axis=axis % len(x.shape))

    def concat(self, arrays: Sequence[Value], axis: int) -> Value:
        if len(arrays) == 1:
            return arrays[0]
        axis %= len(arrays[0].shape)
        shape = list(arrays[0].shape)
        shape[axis] = sum(x.shape[axis] for x in arrays)
        return self.add("concat", arrays, shape, arrays[0].dtype, axis=axis)

    def take(self, x: Value, indices: Value, axis: int) -> Value:
        axis %= len(x.shape)
        return self.add(
            "take", (x, indices), (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype, axis=axis
        )


@cache
def _dtype_of(op: str, *dtypes: Any) -> Any:
    """The dtype of NumPy's result for arrays of these dtypes."""
    with np.errstate(all="ignore"):
        return getattr(np, op)(*(np.ones(1, dtype) for dtype in dtypes)).dtype


def numpy_dtype(dtype: Any) -> Any:
    """NumPy's dtype of the same name as another library's.

    >>> numpy_dtype("library.int8")
    dtype('int8')
    """
    return dtype if isinstance(dtype, np.dtype) else np.dtype(str(getattr(dtype, "name", dtype)).rpartition(".")[2])


def places(key: Any, shape: tuple[int, ...]) -> tuple[list[range], list[int]]:
    """What a basic index takes along each axis, and the shape of what it takes.

    >>> places((0, slice(None, None, 2)), (3, 4))
    ([range(0, 1), range(0, 4, 2)], [2])
    """
    parts: list[range] = []
    kept: list[int] = []
    for part in whole_key(key, len(shape)):
        if part is None:
            kept.append(1)
            continue
        length = shape[len(parts)]
        if isinstance(part, slice):
            parts.append(range(length)[part] or range(0))
            kept.append(len(parts[-1]))
        elif type(part) is not int:
            raise NotTraceable("an index that is no number, slice or array of integers")
        else:
            parts.append(range(range(length)[part], range(length)[part] + 1))
    return parts, kept


def whole_key(key: Any, ndim: int) -> list[Any]:
    """The index for each axis, without an ellipsis; None where an axis is added."""
    parts = list(key) if isinstance(key, tuple) else [key]
    rest = [slice(None)] * (ndim - sum(part is not None and part is not ... for part in parts))
    at = next((i for i, part in enumerate(parts) if part is ...), len(parts))
    return [*parts[:at], *rest, *parts[at + 1 :]]
