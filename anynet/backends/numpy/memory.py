"""Memory for NumPy's arrays: on huge pages, and reused."""

from __future__ import annotations

from typing import Any

import numpy as np

HUGE_PAGE = 2 << 20
LARGE = 64 << 10
_ROOM = 2 * HUGE_PAGE
_CACHE_LINE = 64


def huge_page(size: int) -> Any:
    """An array of `size` bytes at the start of a huge page, which NumPy requests from the kernel for large arrays.

    On small pages, a step on two cores loses up to a quarter of its speed, depending on chance.
    """
    room = np.empty(size + 2 * HUGE_PAGE, np.uint8)
    start = -room.ctypes.data % HUGE_PAGE
    return room[start : start + size]


def placed(x: Any) -> Any:
    """A copy of an array at the start of a huge page; a small array, which gains little, is returned as it is."""
    if x.nbytes < LARGE:
        return x
    array = huge_page(x.nbytes).view(x.dtype).reshape(x.shape)
    array[...] = x
    return array


def empty(size: int) -> Any:
    """An array of `size` bytes at the start of a cache line, or of a huge page if it fills one."""
    if size >= HUGE_PAGE:
        return huge_page(size)
    room = np.empty(size + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size]


class Memory:
    """The workspace of a step. It grows when it is full, and reuses what is given back."""

    def __init__(self) -> None:
        self._chunks: list[Any] = []
        # The free parts of the chunks: chunk, start and end.
        self._free: list[tuple[int, int, int]] = []
        self._all = LARGE

    def take(self, size: int) -> Any:
        """An array of at least `size` bytes, in whole cache lines."""
        size = -(-max(size, 1) // _CACHE_LINE) * _CACHE_LINE
        fitting = [part for part in self._free if part[2] - part[1] >= size]
        part = min(fitting, key=lambda part: part[2] - part[1]) if fitting else self._more(size)
        self._free.remove(part)
        chunk, start, end = part
        if end - start > size:
            self._free.append((chunk, start + size, end))
        return self._chunks[chunk][start : start + size]

    def _more(self, size: int) -> tuple[int, int, int]:
        size = max(size, min(self._all, _ROOM))
        self._all += size
        self._chunks.append(empty(size))
        self._free.append((len(self._chunks) - 1, 0, size))
        return self._free[-1]

    def give_back(self, room: Any) -> None:
        """Free an array that `take` returned, and join it with what is free beside it."""
        address = room.ctypes.data
        distances = (address - chunk.ctypes.data for chunk in self._chunks)
        chunk, start = next((i, at) for i, at in enumerate(distances) if 0 <= at < len(self._chunks[i]))
        end = start + len(room)
        for other in [part for part in self._free if part[0] == chunk and (part[2] == start or part[1] == end)]:
            self._free.remove(other)
            start, end = min(start, other[1]), max(end, other[2])
        self._free.append((chunk, start, end))
