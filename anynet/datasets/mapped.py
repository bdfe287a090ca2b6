"""Copying rows out of memory-mapped files, which another program may cut shorter at any time."""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import cache
from typing import Any

import numpy as np

from anynet.errors import DataError

# The most runs of bytes that Linux takes in one call.
_RUNS_A_CALL = 1024


class Mapping:
    """The file under a numpy.memmap, or under a view of one."""

    def __init__(self, mapped: Any) -> None:
        self._name = mapped.filename
        self._private = mapped.mode == "c"
        self._memory = mapped.base
        self._held = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY + len(self._memory)

    def __str__(self) -> str:
        return str(self._name)

    def check_length(self) -> None:
        """Raise a DataError if the file has become shorter since it was mapped."""
        if (holds := self._memory.size()) < self._held:
            raise DataError(
                f"{self} became shorter while it was read: it held {self._held:,} bytes, and now holds {holds:,}; "
                "read from files that nobody writes to"
            )

    def release(self) -> None:
        """Let the system drop the pages from memory, but not those of a copy-on-write map, which may hold changes."""
        if not self._private and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED)


def mapping_under(array: Any) -> Mapping | None:
    """The mapped file under an array or under what it views; None if there is none."""
    while array is not None and not isinstance(getattr(array, "base", None), mmap.mmap):
        array = getattr(array, "base", None)
    return Mapping(array) if isinstance(array, np.memmap) else None


def runs_of(part: Any) -> tuple[Any, int]:
    """The contiguous runs of bytes in a row: the start of each, from the row's first byte, and the length of all."""
    axis, length = part.ndim, part.itemsize
    while axis > 1 and part.strides[axis - 1] == length:
        axis -= 1
        length *= part.shape[axis]
    starts = np.zeros(1, np.intp)
    for size, stride in zip(part.shape[1:axis], part.strides[1:axis], strict=True):
        starts = np.add.outer(starts, np.arange(size) * stride).ravel()
    return starts, length


def gather(addresses: Any, length: int, into: Any) -> int:
    """Copy `length` bytes from each address, one after the other, and return how many bytes were copied.

    They are fewer if a page is no longer in its file. The kernel then stops copying, while SIGBUS would end a program
    that reads such a page itself.
    """
    write, process = _write(), os.getpid()
    runs = np.empty((len(addresses), 2), np.intp)
    runs[:, 0], runs[:, 1] = addresses, length
    source, target = runs.ctypes.data, into.ctypes.data
    copied, total = 0, len(runs) * length
    while copied < total:
        first, begun = divmod(copied, length)
        if begun:
            runs[first] = addresses[first] + begun, length - begun
        count = min(_RUNS_A_CALL, len(runs) - first)
        # The target is no longer than this call needs, since the kernel pins all the pages that it is given.
        room = (ctypes.c_size_t * 2)(target + copied, count * length - begun)
        moved = write(process, source + first * runs.strides[0], count, room, 1, 0)
        if moved <= 0:
            break
        copied += moved
    return copied


@cache
def can_gather() -> bool:
    """Whether this system has the call that `gather` needs, and lets us use it."""
    byte = np.zeros(1, np.uint8)
    try:
        return gather(np.asarray([byte.ctypes.data]), 1, np.empty(1, np.uint8)) == 1
    # Windows cannot open its C library like this, and that of macOS has no such function.
    except (AttributeError, OSError, TypeError):
        return False


@cache
def _write() -> Any:
    call = ctypes.CDLL(None).process_vm_writev
    call.restype = ctypes.c_ssize_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    return call
