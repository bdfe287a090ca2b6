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
        rows = [*(take(array, order[part]) for array in self._rows), *(weight[part] for weight in weights)]
        stacked = (array.reshape(steps, size, *array.shape[1:]) for array in rows)
        return Chunk(tuple(self.backend.asarray(array) for array in stacked), steps, size)


class SharedSource:
    """Gives each device its part of every batch; a batch that cannot be divided equally is given to all whole.

    Parameters
    ----------
    source : ResidentSource or StreamedSource
        Each rank has one, of all rows, and takes only its own from it.
    comm : Communicator
    most_rows : int, optional
        The ranks divide each piece of so many rows of a batch, not the batch, as the step computes it.
    """

    def __init__(
        self, source: ResidentSource | StreamedSource, comm: Communicator, most_rows: int | None = None
    ) -> None:
        self.source = source
        self.data = tuple(source.backend.replicate(comm, array) for array in source.data)
        self.comm = comm
        self.most_rows = most_rows

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
                places, place = self._places(size), backend.shard
                own = len(places)
                given = [array.reshape(-1, size)[:, places].reshape(-1) for array in given]
            for chunk in self.source.batches(given[0], tuple(given[1:]), own, most_steps):
                arrays = tuple(place(comm, array) for array in chunk.arrays)
                yield chunk._replace(arrays=arrays, batch_size=size, is_shared=is_shared)

    def _places(self, size: int) -> Any:
        """The places of this rank's rows in a batch, device by device."""
        most_rows, devices = self.most_rows or size, self.comm.devices
        pieces = [(start, min(most_rows, size - start) // devices) for start in range(0, size, most_rows)]
        firsts = ((start + device * rows, rows) for device in self.comm.own_devices for start, rows in pieces)
        return np.concatenate([np.arange(first, first + rows) for first, rows in firsts])


Source: TypeAlias = ResidentSource | StreamedSource | SharedSource


def make_source(backend: Backend, data: tuple[Any, ...], comm: Communicator, most_rows: int | None = None) -> Source:
    """A resident source if the data are in memory and small enough for the device, else a streamed one.

    On many ranks, it is a `SharedSource`, with these `most_rows`.
    """
    on_disk = any(isinstance(array, OnDisk) for array in data)
    # Devices may differ in free memory, but the ranks must cut the batches alike.
    is_streamed = comm.any(on_disk or sum(array.nbytes for array in data) > backend.resident_bytes())
    source = StreamedSource(backend, data) if is_streamed else ResidentSource(backend, data)
    return source if comm.devices == 1 else SharedSource(source, comm, most_rows)


def take(array: Any, rows: Any) -> Any:
    """Rows of an array in memory or on disk."""
    return array.take(rows) if isinstance(array, OnDisk) else np.take(array, rows, axis=0)
