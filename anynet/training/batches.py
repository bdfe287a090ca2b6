"""Cuts host arrays into batches, and copies them to the device a few megabytes at a time."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np

from anynet.backends.base import Array, Backend

# The batch size of `evaluate`, `predict` and `activations`.
EVALUATION_BATCH = 1024


class Chunk(NamedTuple):
    """Batches of one size, stacked: each array is on the device and has shape (steps, batch_size, ...).

    If `is_shared`, the arrays have this rank's part of each batch, and so fewer rows.
    """

    arrays: tuple[Array, ...]
    steps: int
    batch_size: int
    is_shared: bool = False

    @property
    def rows(self) -> int:
        return self.steps * self.batch_size


def chunks(
    backend: Backend,
    arrays: tuple[Any, ...],
    batch_size: int,
    most_steps: int | None = None,
    rows: slice = slice(None),
) -> Generator[Chunk]:
    """Yield `rows` of host arrays, in their order, as chunks of batches; the last batch may be shorter.

    >>> from anynet.backends import select
    >>> [(c.steps, c.batch_size) for c in chunks(select("numpy"), (np.zeros((70, 2)),), batch_size=32)]
    [(2, 32), (1, 6)]
    """
    first, end, _ = rows.indices(len(arrays[0]))
    row_bytes = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in arrays)
    for start, steps, size in cuts(backend, end - first, batch_size, row_bytes, most_steps):
        part = slice(first + start, first + start + steps * size)
        stacked = (array[part].reshape(steps, size, *array.shape[1:]) for array in arrays)
        yield Chunk(tuple(backend.asarray(array) for array in stacked), steps, size)


def cuts(
    backend: Backend, count: int, batch_size: int, row_bytes: int, most_steps: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Cut `count` rows into chunks; yield the first row, the number of batches and their size for each chunk."""
    batch_size = min(batch_size, count)
    most_steps = most_steps or backend.steps_at_once
    steps_at_once = max(
        1, min(backend.steps_at_once, most_steps, backend.bytes_at_once // max(1, row_bytes * batch_size))
    )
    start = 0
    while start < count:
        size = min(batch_size, count - start)
        steps = max(1, min(steps_at_once, (count - start) // batch_size))
        yield start, steps, size
        start += steps * size


def normalize_weights(weight: Any, order: Any, batch_size: int) -> tuple[Any, Any]:
    """Return each row's share of the weight of its batch, in the given order, and the total weight of each batch.

    `order` holds row numbers. It is not used if all weights are one number, broadcast to shape (samples,).

    >>> normalize_weights(np.asarray([1.0, 3.0, 5.0]), np.asarray([0, 1, 2]), batch_size=2)
    (array([0.25, 0.75, 1.  ]), array([4., 5.]))
    """
    batch_size = min(batch_size, len(order))
    firsts = np.arange(0, len(order), batch_size)
    if weight.strides == (0,):
        sizes = np.diff(firsts, append=len(order))
        return np.repeat(1 / sizes, sizes), sizes * weight[0]
    ordered = weight[order]
    totals = np.add.reduceat(ordered, firsts)
    ordered /= np.repeat(np.where(totals > 0, totals, 1), batch_size)[: len(order)]
    return ordered, totals
