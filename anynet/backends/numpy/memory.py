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
        self._free: list[Any] = []
        self._all = LARGE

    def take(self, size: int) -> Any:
        """An array of at least `size` bytes, in whole cache lines."""
        size = -(-max(size, 1) // _CACHE_LINE) * _CACHE_LINE
        fitting = [room for room in self._free if len(room) >= size]
        room = min(fitting, key=len) if fitting else self._more(size)
        self._free = [other for other in self._free if other is not room]
        if len(room) > size:
            self._free.append(room[size:])
        return room[:size]

    def _more(self, size: int) -> Any:
        size = max(size, min(self._all, _ROOM))
        self._all += size
        return empty(size)

    def give_back(self, room: Any) -> None:
        self._free.append(room)
