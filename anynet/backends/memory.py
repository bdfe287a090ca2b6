"""Where NumPy's arrays lie: on huge pages, and in room that is given again."""

from __future__ import annotations

from typing import Any

import numpy as np

HUGE_PAGE = 2 << 20
LARGE = 64 << 10
_ROOM = 2 * HUGE_PAGE
_CACHE_LINE = 64


def huge_page(size: int) -> Any:
    """So many bytes that start a huge page, which NumPy asks the kernel for where an allocation has room for one.

    Numbers scattered over small pages cost a step of two cores up to a quarter of its speed, by chance.
    """
    room = np.empty(size + 2 * HUGE_PAGE, np.uint8)
    start = -room.ctypes.data % HUGE_PAGE
    return room[start : start + size]


def placed(x: Any) -> Any:
    """The same numbers at the start of a huge page; a small array, for which that matters little, as it is."""
    if x.nbytes < LARGE:
        return x
    array = huge_page(x.nbytes).view(x.dtype).reshape(x.shape)
    array[...] = x
    return array


class Memory:
    """Room for what a step computes, in huge pages, given again as soon as nothing can ask for it any more."""

    def __init__(self) -> None:
        self.free: list[Any] = []

    def keep(self, x: Any) -> tuple[Any, Room]:
        """A copy of an array, laid out as it is, and what keeps its place."""
        size = -(-max(x.nbytes, 1) // _CACHE_LINE) * _CACHE_LINE
        fitting = [place for place in self.free if len(place) >= size]
        place = min(fitting, key=len) if fitting else huge_page(max(size, _ROOM))
        self.free = [other for other in self.free if other is not place]
        if len(place) > size:
            self.free.append(place[size:])
        # NumPy adds up along another axis first where the axes lie in another order in memory.
        order = sorted(range(x.ndim), key=lambda axis: -x.strides[axis])
        flat = place[: x.nbytes].view(x.dtype)
        array = flat.reshape([x.shape[axis] for axis in order]).transpose([order.index(i) for i in range(x.ndim)])
        array[...] = x
        return array, Room(self, place[:size])


class Room:
    """A place in memory that is free again once no stand-in holds this."""

    def __init__(self, memory: Memory, place: Any) -> None:
        self.memory = memory
        self.place = place

    def __del__(self) -> None:
        self.memory.free.append(self.place)
