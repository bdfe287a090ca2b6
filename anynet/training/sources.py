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
from anynet.distributed import Communicator
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


class SharedSource:
    """Gives each device its part of every batch; a batch that cannot be divided equally is given to all whole.

    Parameters
    ----------
    source : ResidentSource or StreamedSource
        Each rank has one, of all rows, and takes only its own from it.
    comm : Communicator
    """

    def __init__(self, source: ResidentSource | StreamedSource, comm: Communicator) -> None:
        self.source = source
        self.data = tuple(source.backend.replicate(comm, array) for array in source.data)
        self.comm = comm

    def batches(
        self, order: Any, weights: tuple[Any, ...], batch_size: int, most_steps: int | None = None
    ) -> Generator[Chunk]:
        """Chunks of parts of batches, for this rank's devices, and of whole batches."""
        comm, backend = self.comm, self.source.backend
        whole = len(order) - len(order) % batch_size
        for rows in (slice(whole), slice(whole, None)):
            size = min(batch_size, len(order[rows]))
            if not size:
                continue
            given = [order[rows], *(weight[rows] for weight in weights)]
            own, place = size, backend.replicate
            if is_shared := size % comm.devices == 0:
                own, place = size // comm.devices * len(comm.own_devices), backend.shard
                of_devices = (array.reshape(-1, comm.devices, size // comm.devices) for array in given)
                given = [array[:, comm.own_devices].reshape(-1) for array in of_devices]
            for chunk in self.source.batches(given[0], tuple(given[1:]), own, most_steps):
                arrays = tuple(place(comm, array) for array in chunk.arrays)
                yield chunk._replace(arrays=arrays, batch_size=size, is_shared=is_shared)


Source: TypeAlias = ResidentSource | StreamedSource | SharedSource


def make_source(backend: Backend, data: tuple[Any, ...], comm: Communicator) -> Source:
    """A resident source if the data are in memory and small enough for the device, else a streamed one."""
    on_disk = any(isinstance(array, OnDisk) for array in data)
    is_streamed = on_disk or sum(array.nbytes for array in data) > backend.resident_bytes()
    source = StreamedSource(backend, data) if is_streamed else ResidentSource(backend, data)
    return source if comm.devices == 1 else SharedSource(source, comm)


def _take(array: Any, rows: Any) -> Any:
    return array.take(rows) if isinstance(array, OnDisk) else np.take(array, rows, axis=0)
