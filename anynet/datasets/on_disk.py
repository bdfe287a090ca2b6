"""Arrays that stay on disk, and whose rows are read only when they are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from anynet.datasets.mapped import can_gather, gather, mapping_under, runs_of
from anynet.errors import DataError, ShapeError

BYTES_AT_ONCE = 8 << 20
# Dropped pages must be loaded again, so they are not dropped after each small read.
BYTES_UNTIL_RELEASE = 64 << 20


class OnDisk:
    """Memory-mapped arrays, one after the other, as one array whose rows are read when they are taken.

    Pages that were read are dropped from memory now and then, so that memory does not grow with the files.

    Parameters
    ----------
    parts : sequence of numpy.memmap
        Each of shape (rows, ...), with the same dtype, strides and shape of a row.
    chosen : array of int, optional
        The rows of the parts that this array has, in this order; all rows if left out.
    dtype : optional
        The dtype of rows that are read; that of the files if left out.

    Raises
    ------
    ShapeError
        When the rows of two parts differ in shape or dtype.
    """

    def __init__(self, parts: Sequence[Any], chosen: Any = None, dtype: Any = None) -> None:
        first = parts[0]
        for part in parts[1:]:
            if (part.shape[1:], part.dtype, part.strides) != (first.shape[1:], first.dtype, first.strides):
                found = f"{first.shape[1:]} of {first.dtype} and {part.shape[1:]} of {part.dtype}"
                raise ShapeError(f"parts of one array must hold rows of one shape and dtype, alike, but hold {found}")
        self.parts = tuple(parts)
        self.chosen = chosen
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape: tuple[int, ...] = (int(self._starts[-1]) if chosen is None else len(chosen), *first.shape[1:])
        self.dtype = np.dtype(dtype or first.dtype)
        self._files = [mapping_under(part) for part in parts]
        self._runs, self._length = runs_of(first)
        # For each part, the address from which rows of the whole array count: a row is at origin + row * stride.
        self._origins = np.asarray([part.ctypes.data for part in parts]) - self._starts[:-1] * first.strides[0]
        self._unreleased = 0

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def only(self, rows: Any) -> OnDisk:
        """An array of only these rows, still on disk."""
        return OnDisk(self.parts, rows if self.chosen is None else self.chosen[rows], self.dtype)

    def astype(self, dtype: Any) -> OnDisk:
        """The same rows, which are cast to another dtype when they are read."""
        return OnDisk(self.parts, self.chosen, dtype)

    def take(self, rows: Any) -> Any:
        """These rows, in memory.

        Raises
        ------
        DataError
            When a file has become shorter since it was mapped, or cannot be read.

        >>> OnDisk([np.arange(3.0), np.arange(3.0, 5.0)]).take(np.asarray([4, 0]))
        array([4., 0.])
        """
        rows = rows if self.chosen is None else self.chosen[rows]
        if len(rows) and not (rows.min() >= 0 and rows.max() < self._starts[-1]):
            raise IndexError(f"rows must be 0 to {self._starts[-1] - 1}, but go from {rows.min()} to {rows.max()}")
        taken = np.empty((len(rows), *self.shape[1:]), self.parts[0].dtype)
        one = len(self.parts) == 1
        holder = np.zeros(len(rows), np.intp) if one else np.searchsorted(self._starts, rows, side="right") - 1
        copied = self._gather(holder, rows, taken) if can_gather() else self._take_each(holder, rows, taken)
        # This check comes after the copy, since rows after the new end of a file may have been read as zeros.
        for file in self._files if one else [self._files[i] for i in np.flatnonzero(np.bincount(holder))]:
            if file:
                file.check_length()
        if copied < len(rows):
            raise DataError(f"{self._files[holder[copied]]} can no longer be read: it was changed, or its disk fails")
        self._release(taken.nbytes)
        return taken.astype(self.dtype, copy=False)

    def _gather(self, holder: Any, rows: Any, taken: Any) -> int:
        addresses = self._origins[holder] + rows.astype(np.intp) * self.parts[0].strides[0]
        if len(self._runs) > 1:
            addresses = np.add.outer(addresses, self._runs).ravel()
        return gather(addresses, self._length, taken) // (self._length * len(self._runs))

    def _take_each(self, holder: Any, rows: Any, taken: Any) -> int:
        for i in np.flatnonzero(np.bincount(holder)):
            if file := self._files[i]:
                file.check_length()
            here = np.flatnonzero(holder == i)
            taken[here] = np.take(self.parts[i], rows[here] - self._starts[i], axis=0)
        return len(rows)

    def _release(self, read: int) -> None:
        """Drop the pages that were read from memory, once there are many."""
        self._unreleased += read
        if self._unreleased > BYTES_UNTIL_RELEASE:
            self._unreleased = 0
            for file in filter(None, self._files):
                file.release()

    def __getitem__(self, rows: slice) -> Any:
        return self.take(np.arange(*rows.indices(len(self))))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self[:].astype(dtype or self.dtype, copy=False)

    def pieces(self) -> Iterator[tuple[int, Any]]:
        """All rows, a few megabytes at a time, each piece with the number of its first row."""
        rows_at_once = max(1, BYTES_AT_ONCE // max(1, self.dtype.itemsize * math.prod(self.shape[1:])))
        for start in range(0, len(self), rows_at_once):
            yield start, self[start : start + rows_at_once]


def pieces(array: Any) -> Iterator[tuple[int, Any]]:
    """An array as pieces, one if it is in memory and many if it is on disk, each with the number of its first row."""
    return array.pieces() if isinstance(array, OnDisk) else iter([(0, array)])
