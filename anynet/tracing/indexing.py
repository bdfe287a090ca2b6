"""Indexing by arrays, and assigning to parts of an array, recorded as operations of the standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anynet.tracing.program import NotTraceable
from anynet.tracing.recorder import places, whole_key


def has_arrays(key: Any) -> bool:
    """Whether an index holds an array."""
    return any(hasattr(part, "dtype") for part in (key if isinstance(key, tuple) else (key,)))


def taken(xp: Any, x: Any, key: Any) -> Any:
    """The rows, or numbers, of x at these places.

    The arrays of the index must be side by side; beside them there may be whole axes, and slices before them.
    """
    parts = whole_key(key, x.ndim)
    at = [i for i, part in enumerate(parts) if not isinstance(part, slice)]
    first, end = at[0], at[-1] + 1
    if len(at) != end - first or any(parts[i] is None for i in at):
        raise NotTraceable("an index of arrays that are not side by side")
    x = x[tuple(part if isinstance(part, slice) else slice(None) for part in parts)]
    flat: Any = None
    for length, part in zip(x.shape[first:end], parts[first:end], strict=True):
        index = xp.asarray(part)
        if index.dtype.kind not in "iu":
            raise NotTraceable("an index by a condition, whose result has a shape that depends on numbers")
        index = from_the_start(xp, index, length)
        flat = index if flat is None else flat * length + index
    return xp.take(xp.reshape(x, (*x.shape[:first], -1, *x.shape[end:])), flat, axis=first)


def from_the_start(xp: Any, indices: Any, length: int) -> Any:
    """Indices that hold any place in an array; those below 0, which count from the end, are replaced."""
    indices = indices if indices.dtype.itemsize > 2 else xp.astype(indices, xp.default_dtype(int))
    return indices if indices.dtype.kind == "u" else xp.where(indices < 0, indices + length, indices)


def assigned(xp: Any, x: Any, key: Any, new: Any) -> Any:
    """x after ``x[key] = new``, for a basic index, or one number where a condition holds."""
    new = xp.astype(xp.asarray(new), x.dtype)
    if has_arrays(key):
        condition = xp.asarray(key)
        if condition.dtype.kind != "b" or new.size != 1:
            raise NotTraceable("assignment of an array to places that an array tells")
        condition = xp.reshape(condition, (*condition.shape, *(1,) * (x.ndim - condition.ndim)))
        return xp.where(condition, xp.reshape(new, ()), x)
    parts, kept = places(key, x.shape)
    new = xp.broadcast_to(new, tuple(kept))
    sizes = tuple(map(len, parts))
    if sizes == x.shape:
        return xp.reshape(new, x.shape)
    where = [part.start for part in parts], [part.step for part in parts]
    inside = put_back(xp, xp.full(sizes, True), x.shape, *where)
    return xp.where(inside, put_back(xp, xp.reshape(new, sizes), x.shape, *where), x)


def put_back(xp: Any, x: Any, shape: tuple[int, ...], starts: Sequence[int], steps: Sequence[int]) -> Any:
    """An array of zeros of this shape, whose slice from `starts` by `steps` is x."""
    for axis, (start, step) in enumerate(zip(starts, steps, strict=True)):
        first = start
        if step < 0 and x.shape[axis]:
            x, first = xp.flip(x, axis=axis), start + (x.shape[axis] - 1) * step
        x = _apart(xp, x, axis, abs(step)) if x.shape[axis] > 1 else x
        missing = shape[axis] - x.shape[axis]
        before = min(first, missing)
        lengths = before, missing - before
        zeros = [xp.zeros((*x.shape[:axis], n, *x.shape[axis + 1 :]), dtype=x.dtype) if n else None for n in lengths]
        x = xp.concat([part for part in (zeros[0], x, zeros[1]) if part is not None], axis=axis)
    return x


def _apart(xp: Any, x: Any, axis: int, step: int) -> Any:
    """x with step - 1 zeros between its neighbours along an axis."""
    if step == 1:
        return x
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    zeros = xp.zeros((*before, step - 1, *after), dtype=x.dtype)
    spread = xp.concat([xp.expand_dims(x, axis=axis + 1), zeros], axis=axis + 1)
    flat = xp.reshape(spread, (*x.shape[:axis], x.shape[axis] * step, *after))
    return flat[(*(slice(None),) * axis, slice(0, (x.shape[axis] - 1) * step + 1))]
