"""Sources of batches: data that stay on the device, or data that a thread reads ahead."""

from __future__ import annotations

import math
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from anynet.backends import Backend
from anynet.backends.base import Array
from anynet.datasets.on_disk import OnDisk
from anynet.training.batches import Chunk, chunks, cuts


class ResidentSource:
    """Data that are copied to the device once; a batch is then given by its row numbers."""

    def __init__(self, backend: Backend, data: tuple[Any, ...]) -> None:
        self.backend = backend
        self.data = tuple(backend.asarray(array) for array in data)

    def batches(
        self, order: Any, weights: tuple[Any, ...], batch_size: int, most_steps: int | None = None
    ) -> Generator[Chunk]:
        """Chunks of row numbers and weights; `Backend.run` takes these rows of `data`."""
        return chunks(self.backend, (order, *weights), batch_size, most_steps)


class StreamedSource:
    """Data on disk, or too large for the device: a thread reads the next batches while the device computes."""

    def __init__(self, backend: Backend, data: tuple[Any, ...]) -> None:
        self.backend = backend
        self.data: tuple[Array, ...] = ()
        self._rows = data

    def batches(
        self, order: Any, weights: tuple[Any, ...], batch_size: int, most_steps: int | None = None
    ) -> Generator[Chunk]:
        """Chunks of rows and weights."""
        row_bytes = sum(array.dtype.itemsize * math.prod(array.shape[1:]) for array in self._rows)
        with ThreadPoolExecutor(1) as reader:
            coming = None
            for cut in cuts(self.backend, len(order), batch_size, row_bytes, most_steps):
                next_one = reader.submit(self._read, order, weights, *cut)
                if coming:
                    yield coming.result()
                coming = next_one
            if coming:
                yield coming.result()

    def _read(self, order: Any, weights: tuple[Any, ...], start: int, steps: int, size: int) -> Chunk:
        part = slice(start, start + steps * size)
        rows = [*(_take(array, order[part]) for array in self._rows), *(weight[part] for weight in weights)]
        stacked = (array.reshape(steps, size, *array.shape[1:]) for array in rows)
        return Chunk(tuple(self.backend.asarray(array) for array in stacked), steps, size)


Source: TypeAlias = ResidentSource | StreamedSource


def make_source(backend: Backend, data: tuple[Any, ...]) -> Source:
    """A resident source if the data are in memory and small enough for the device, else a streamed one."""
    on_disk = any(isinstance(array, OnDisk) for array in data)
    if on_disk or sum(array.nbytes for array in data) > backend.resident_bytes():
        return StreamedSource(backend, data)
    return ResidentSource(backend, data)


def _take(array: Any, rows: Any) -> Any:
    return array.take(rows) if isinstance(array, OnDisk) else np.take(array, rows, axis=0)
