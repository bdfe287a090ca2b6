"""Helpers for all readers of files: errors name the file, and a wrong header does not allocate memory."""

from __future__ import annotations

import errno
import math
import os
import reprlib
import stat
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from anynet.errors import DataError, UsageError

MOST_UNPACKED = 256 << 20
MOST_EXPANSION = 10
_BYTES_AT_ONCE = 1 << 20


@contextmanager
def open_file(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading; a pipe or a device, which may have no end, raises an OSError."""

    def without_waiting(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    with open(str(path), "rb", opener=without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no file, but a pipe or a device")
        yield file


@contextmanager
def reading(path: Path, kind: str) -> Iterator[BufferedReader]:
    """Open a file; any error while it is read becomes a DataError that names the file."""
    try:
        with open_file(path) as file:
            if not file.peek(1):
                raise DataError(f"{path} is empty")
            yield file
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path} does not fit into memory") from None
    # Damaged bytes make csv, zlib, zipfile and NumPy raise errors of a dozen kinds.
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        raise DataError(f"{path} is damaged or no {kind}: {textwrap.shorten(str(error), 150)}") from error


def size_of(file: BufferedReader) -> int:
    """How many bytes are in a file."""
    return os.fstat(file.fileno()).st_size


def check_limit(name: str, limit: int | None) -> None:
    """Raise a UsageError unless a limit is None, or a whole number, 1 or more."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise UsageError(f"{name} must be a whole number, 1 or more, but is {limit!r}")


def check_unpacked(name: str, claimed: int, packed: int, max_bytes: int | None) -> None:
    """Raise a DataError if a compressed file claims to unpack to more bytes than it may.

    The limit is `max_bytes`; if that is None, 10 times the size of the file, but at least 256 MiB.
    """
    most = max(MOST_UNPACKED, MOST_EXPANSION * packed) if max_bytes is None else max_bytes
    if claimed > most:
        raise DataError(
            f"{name} has {packed:,} bytes and claims to unpack to {claimed:,}, but may to {most:,} at most; "
            f"if you trust it, allow more with max_bytes (--max-bytes {claimed})"
        )


def machine_memory() -> float:
    """How many bytes of memory this machine, or its container, has; infinite if the system does not tell."""
    try:
        most = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf
    try:
        return min(most, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    # There is no such limit, or it is the word "max".
    except (OSError, ValueError):
        return most


def read_numbers(name: str, stream: Any, dtype: Any, shape: tuple[int, ...], fortran_order: bool = False) -> Any:
    """The rest of a stream as an array in native byte order.

    Raises
    ------
    DataError
        When the stream has more or fewer bytes than the shape says, or the machine has less memory than that.
    """
    expected = size_said(name, dtype, shape)
    if expected > machine_memory():
        raise DataError(f"{name} does not fit into memory: it says that it holds {expected:,} bytes")
    data = bytearray()
    # The shape may be wrong, so memory grows only with the bytes that arrive.
    while len(data) < expected and (some := stream.read(min(_BYTES_AT_ONCE, expected - len(data)))):
        data += some
    check_shape(name, dtype, shape, len(data) + len(stream.read(1)))
    array = np.frombuffer(data, dtype)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array.reshape(shape, order="F" if fortran_order else "C")


def check_shape(name: str, dtype: Any, shape: tuple[int, ...], found: int) -> None:
    """Raise a DataError unless a file holds exactly as many bytes of numbers as its shape says."""
    expected = size_said(name, dtype, shape)
    said = f"{reprlib.repr(shape)} of {dtype.name}"
    if found < expected:
        raise DataError(f"{name} is truncated: it is too short for its shape {said}")
    if found > expected:
        raise DataError(f"{name} is damaged: it is too long for its shape {said}")


def size_said(name: str, dtype: Any, shape: tuple[int, ...]) -> int:
    """How many bytes an array of this shape has; a DataError if it has none."""
    if not shape or min(shape) < 1:
        raise DataError(f"{name} holds no samples: its shape is {reprlib.repr(shape)} of {dtype.name}")
    return math.prod(shape) * int(dtype.itemsize)
