"""Functions of the standard that are recorded as several operations, each given the namespace that records them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from anynet.tracing.program import NotTraceable


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    return tuple(one % ndim for one in ((axis,) if isinstance(axis, int) else axis))


def mean(xp: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    if x.dtype.itemsize < 4:
        raise NotTraceable("a mean of a small dtype, which libraries add up in a larger one")
    total = xp.sum(x, axis=axis, keepdims=keepdims)
    return total / (x.size // max(total.size, 1))


def var(xp: Any, x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False) -> Any:
    centred = x - xp.mean(x, axis=axis, keepdims=True)
    total = xp.sum(centred * centred, axis=axis, keepdims=keepdims)
    return total / (x.size // max(total.size, 1) - correction)


def std(xp: Any, x: Any, **options: Any) -> Any:
    return xp.sqrt(xp.var(x, **options))


def count_nonzero(xp: Any, x: Any, *, axis: Any = None, keepdims: bool = False) -> Any:
    return xp.sum(xp.astype(x != 0, xp.default_dtype(int)), axis=axis, keepdims=keepdims)


def clip(xp: Any, x: Any, /, min: Any = None, max: Any = None) -> Any:
    x = xp.asarray(x, copy=True)
    x = x if min is None else xp.maximum(x, min)
    return x if max is None else xp.minimum(x, max)


def positive(xp: Any, x: Any) -> Any:
    return xp.asarray(x, copy=True)


def reciprocal(xp: Any, x: Any) -> Any:
    return 1.0 / x


def zeros(xp: Any, shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return xp.full(shape, 0.0, dtype=dtype)


def ones(xp: Any, shape: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return xp.full(shape, 1.0, dtype=dtype)


def full_like(xp: Any, x: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return xp.full(x.shape, fill_value, dtype=dtype or x.dtype)


def zeros_like(xp: Any, x: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return full_like(xp, x, 0, dtype=dtype)


def ones_like(xp: Any, x: Any, *, dtype: Any = None, device: Any = None) -> Any:
    return full_like(xp, x, 1, dtype=dtype)


def eye(xp: Any, rows: int, columns: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None) -> Any:
    there = xp.arange(rows)[:, None] + k == xp.arange(rows if columns is None else columns)
    return xp.astype(there, dtype or xp.default_dtype(float))


def linspace(
    xp: Any, start: Any, stop: Any, num: int, *, dtype: Any = None, device: Any = None, endpoint: bool = True
) -> Any:
    dtype = dtype or xp.default_dtype(float)
    return start + xp.astype(xp.arange(num), dtype) * ((stop - start) / max(num - endpoint, 1))


def tril(xp: Any, x: Any, *, k: int = 0) -> Any:
    rows, columns = x.shape[-2:]
    return xp.where(xp.arange(columns) <= xp.arange(rows)[:, None] + k, x, 0)


def triu(xp: Any, x: Any, *, k: int = 0) -> Any:
    rows, columns = x.shape[-2:]
    return xp.where(xp.arange(columns) >= xp.arange(rows)[:, None] + k, x, 0)


def meshgrid(xp: Any, *arrays: Any, indexing: str = "xy") -> tuple[Any, ...]:
    axes = [*range(len(arrays))]
    if indexing == "xy" and len(arrays) > 1:
        axes[:2] = 1, 0
    shape = [0] * len(arrays)
    for x, axis in zip(arrays, axes, strict=True):
        shape[axis] = x.shape[0]
    along = ([-1 if i == axis else 1 for i in range(len(arrays))] for axis in axes)
    return tuple(xp.broadcast_to(xp.reshape(x, place), shape) for x, place in zip(arrays, along, strict=True))


def stack(xp: Any, arrays: Sequence[Any], *, axis: int = 0) -> Any:
    return xp.concat([xp.expand_dims(x, axis=axis) for x in arrays], axis=axis)


def unstack(xp: Any, x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    before = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*before, i)] for i in range(x.shape[axis]))


def expand_dims(xp: Any, x: Any, *, axis: Any = 0) -> Any:
    ndim = x.ndim + (1 if isinstance(axis, int) else len(axis))
    added, lengths = _axes(axis, ndim), iter(x.shape)
    return xp.reshape(x, [1 if at in added else next(lengths) for at in range(ndim)])


def squeeze(xp: Any, x: Any, axis: Any) -> Any:
    axes = _axes(axis, x.ndim)
    return xp.reshape(x, [length for at, length in enumerate(x.shape) if at not in axes])


def flip(xp: Any, x: Any, *, axis: Any = None) -> Any:
    axes = _axes(axis, x.ndim)
    return x[tuple(slice(None, None, -1 if at in axes else 1) for at in range(x.ndim))]


def roll(xp: Any, x: Any, shift: Any, *, axis: Any = None) -> Any:
    if axis is None:
        return xp.reshape(roll(xp, xp.reshape(x, (-1,)), shift, axis=0), x.shape)
    axes = _axes(axis, x.ndim)
    for by, at in zip((shift,) * len(axes) if isinstance(shift, int) else shift, axes, strict=True):
        before, place = (slice(None),) * at, -by % max(x.shape[at], 1)
        x = xp.concat([x[(*before, slice(place, None))], x[(*before, slice(0, place))]], axis=at)
    return x


def tile(xp: Any, x: Any, repetitions: Sequence[int]) -> Any:
    ndim = max(x.ndim, len(repetitions))
    shape = (1,) * (ndim - x.ndim) + x.shape
    times = (1,) * (ndim - len(repetitions)) + tuple(repetitions)
    pairs = [*zip(times, shape, strict=True)]
    spread = xp.broadcast_to(
        xp.reshape(x, [n for length in shape for n in (1, length)]), [n for pair in pairs for n in pair]
    )
    return xp.reshape(spread, [many * length for many, length in pairs])


def repeat(xp: Any, x: Any, repeats: Any, *, axis: int | None = None) -> Any:
    if not isinstance(repeats, int):
        raise NotTraceable("repeat by an array, whose result has a shape that depends on numbers")
    x, axis = (xp.reshape(x, (-1,)), 0) if axis is None else (x, axis % x.ndim)
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    spread = xp.broadcast_to(xp.reshape(x, (*before, 1, *after)), (*before, repeats, *after))
    return xp.reshape(spread, (*x.shape[:axis], x.shape[axis] * repeats, *after))


def moveaxis(xp: Any, x: Any, source: Any, destination: Any) -> Any:
    to = dict(zip(_axes(destination, x.ndim), _axes(source, x.ndim), strict=True))
    others = (axis for axis in range(x.ndim) if axis not in to.values())
    return xp.permute_dims(x, [to[at] if at in to else next(others) for at in range(x.ndim)])


def matrix_transpose(xp: Any, x: Any) -> Any:
    return xp.permute_dims(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def broadcast_arrays(xp: Any, *arrays: Any) -> list[Any]:
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return [xp.broadcast_to(x, shape) for x in arrays]


def broadcast_shapes(xp: Any, *shapes: Any) -> tuple[int, ...]:
    return np.broadcast_shapes(*shapes)


def diff(xp: Any, x: Any, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    parts = [part for part in (prepend, x, append) if part is not None]
    x = xp.concat(parts, axis=axis)
    before = (slice(None),) * (axis % x.ndim)
    for _ in range(n):
        x = x[(*before, slice(1, None))] - x[(*before, slice(None, -1))]
    return x


def vecdot(xp: Any, x: Any, y: Any, *, axis: int = -1) -> Any:
    return xp.sum(x * y, axis=axis)


def tensordot(xp: Any, x: Any, y: Any, *, axes: Any = 2) -> Any:
    over_x, over_y = (range(x.ndim - axes, x.ndim), range(axes)) if isinstance(axes, int) else axes
    over_x, over_y = _axes(tuple(over_x), x.ndim), _axes(tuple(over_y), y.ndim)
    rows = [axis for axis in range(x.ndim) if axis not in over_x]
    columns = [axis for axis in range(y.ndim) if axis not in over_y]
    inner = math.prod(x.shape[axis] for axis in over_x)
    a = xp.reshape(xp.permute_dims(x, (*rows, *over_x)), (math.prod(x.shape[i] for i in rows), inner))
    b = xp.reshape(xp.permute_dims(y, (*over_y, *columns)), (inner, math.prod(y.shape[i] for i in columns)))
    return xp.reshape(xp.matmul(a, b), [*(x.shape[i] for i in rows), *(y.shape[i] for i in columns)])


def sort(xp: Any, x: Any, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    order = xp.argsort(x, axis=axis, descending=descending, stable=stable)
    return xp.take_along_axis(x, order, axis=axis)


def cumulative_sum(
    xp: Any, x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    return _cumulative(xp, "cumulative_sum", x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    xp: Any, x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    return _cumulative(xp, "cumulative_prod", x, axis, dtype, 1 if include_initial else None)


def _cumulative(xp: Any, op: str, x: Any, axis: int | None, dtype: Any, initial: int | None) -> Any:
    x, axis = xp.astype(x, dtype or xp.sum(x).dtype), (axis or 0) % x.ndim
    result = xp.along(op, x, axis=axis)
    if initial is None:
        return result
    before = xp.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), initial, dtype=x.dtype)
    return xp.concat([before, result], axis=axis)


def isdtype(xp: Any, dtype: Any, kind: Any) -> bool:
    kinds = {
        **{"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu"},
        **{"real floating": "f", "complex floating": "c", "numeric": "iufc"},
    }
    if isinstance(kind, tuple):
        return any(isdtype(xp, dtype, one) for one in kind)
    return bool(np.dtype(dtype).kind in kinds[kind] if isinstance(kind, str) else np.dtype(dtype) == kind)


def result_type(xp: Any, *arrays: Any) -> Any:
    return xp.common_dtype(*arrays)


def can_cast(xp: Any, start: Any, to: Any, /) -> bool:
    return bool(np.can_cast(getattr(start, "dtype", start), to))


def finfo(xp: Any, kind: Any, /) -> Any:
    return np.finfo(getattr(kind, "dtype", kind))


def iinfo(xp: Any, kind: Any, /) -> Any:
    return np.iinfo(getattr(kind, "dtype", kind))


class _LinearAlgebra:
    """The functions of ``xp.linalg`` that need no decomposition."""

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self.matmul, self.vecdot, self.tensordot = xp.matmul, xp.vecdot, xp.tensordot
        self.matrix_transpose = xp.matrix_transpose

    def vector_norm(self, x: Any, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Any:
        xp = self._xp
        if abs(ord) == math.inf:
            return (xp.max if ord > 0 else xp.min)(xp.abs(x), axis=axis, keepdims=keepdims)
        if ord == 0:
            return xp.astype(xp.count_nonzero(x, axis=axis, keepdims=keepdims), x.dtype)
        if ord == 1:
            return xp.sum(xp.abs(x), axis=axis, keepdims=keepdims)
        if ord == 2:
            return xp.sqrt(xp.sum(x * x, axis=axis, keepdims=keepdims))
        return xp.sum(xp.abs(x) ** ord, axis=axis, keepdims=keepdims) ** (1 / ord)

    def trace(self, x: Any, *, offset: int = 0, dtype: Any = None) -> Any:
        xp = self._xp
        return xp.sum(xp.where(xp.eye(*x.shape[-2:], k=offset, dtype=xp.bool), x, 0), axis=(-2, -1), dtype=dtype)

    def outer(self, x: Any, y: Any) -> Any:
        return x[:, None] * y

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, f"linalg.{name}")


def linalg(xp: Any) -> _LinearAlgebra:
    return _LinearAlgebra(xp)


_DEFINED: list[Callable[..., Any]] = [
    *(mean, var, std, count_nonzero, clip, positive, reciprocal, zeros, ones, full_like, zeros_like, ones_like),
    *(eye, linspace, tril, triu, meshgrid, stack, unstack, expand_dims, squeeze, flip, roll, tile, repeat, moveaxis),
    *(matrix_transpose, broadcast_arrays, broadcast_shapes, diff, vecdot, tensordot, sort, cumulative_sum),
    *(cumulative_prod, isdtype, result_type, can_cast, finfo, iinfo),
]
FUNCTIONS: dict[str, Callable[..., Any]] = {function.__name__: function for function in _DEFINED} | {
    "empty": zeros,
    "empty_like": zeros_like,
}
