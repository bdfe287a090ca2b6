"""Indexing by arrays of integers, recorded as one `take`."""

from __future__ import annotations

from typing import Any

from anynet.tracing.program import NotTraceable
from anynet.tracing.recorder import whole_key


def has_arrays(key: Any) -> bool:
    """Whether an index holds an array."""
    return any(hasattr(part, "dtype") for part in (key if isinstance(key, tuple) else (key,)))


def taken(xp: Any, x: Any, key: Any) -> Any:
    """The rows, or numbers, of x at these places.

    The arrays of the index must be side by side; beside them there may be whole axes, and slices before them.
    """
    parts = whole_key(key, x.ndim)
    places = [i for i, part in enumerate(parts) if not isinstance(part, slice)]
    first, end = places[0], places[-1] + 1
    if len(places) != end - first or any(parts[i] is None for i in places):
        raise NotTraceable("an index of arrays that are not side by side")
    x = x[tuple(part if isinstance(part, slice) else slice(None) for part in parts)]
    flat: Any = None
    for length, part in zip(x.shape[first:end], parts[first:end], strict=True):
        index = xp.asarray(part)
        if index.dtype.kind not in "iu":
            raise NotTraceable("an index by a condition, whose result has a shape that depends on numbers")
        index = xp.where(index < 0, index + length, index)
        flat = index if flat is None else flat * length + index
    return xp.take(xp.reshape(x, (*x.shape[:first], -1, *x.shape[end:])), flat, axis=first)
