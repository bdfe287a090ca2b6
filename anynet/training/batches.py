"""From host arrays to batches on a device, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from anynet.backends.base import Array, Backend

# Enough to hide what it costs to start a compiled run.
STEPS_AT_ONCE = 64


class Chunk(NamedTuple):
    """Batches of one size, stacked: each array, on the device, has shape (steps, batch_size, ...)."""

    arrays: tuple[Array, ...]
    steps: int
    batch_size: int


def chunks(backend: Backend, arrays: tuple[Any, ...], batch_size: int, order: Any = None) -> Iterator[Chunk]:
    """The rows of host arrays as chunks of batches, in `order` or as they stand; the last batch may be shorter.

    >>> from anynet.backends import select
    >>> [(c.steps, c.batch_size) for c in chunks(select("numpy"), (np.zeros((70, 2)),), batch_size=32)]
    [(2, 32), (1, 6)]
    """
    count = len(arrays[0] if order is None else order)
    batch_size = min(batch_size, count)
    batch_bytes = batch_size * sum(array[:1].nbytes for array in arrays)
    steps_at_once = max(1, min(STEPS_AT_ONCE, backend.bytes_at_once // max(1, batch_bytes)))
    start = 0
    while start < count:
        size = min(batch_size, count - start)
        steps = max(1, min(steps_at_once, (count - start) // batch_size))
        stop = start + steps * size
        chosen = (a[start:stop] if order is None else np.take(a, order[start:stop], axis=0) for a in arrays)
        stacked = (rows.reshape(steps, size, *rows.shape[1:]) for rows in chosen)
        yield Chunk(tuple(backend.asarray(array) for array in stacked), steps, size)
        start = stop


def batch_shares(weight: Any, order: Any, batch_size: int) -> tuple[Any, Any]:
    """Each row's share of its batch when rows come in `order`, and each batch's total weight.

    >>> batch_shares(np.asarray([1.0, 3.0, 5.0]), np.asarray([0, 1, 2]), batch_size=2)
    (array([0.25, 0.75, 1.  ]), array([4., 5.]))
    """
    ordered = weight[order]
    totals = np.add.reduceat(ordered, np.arange(0, len(order), batch_size))
    shares = np.empty_like(ordered)
    shares[order] = ordered / np.repeat(np.where(totals > 0, totals, 1), batch_size)[: len(order)]
    return shares, totals
