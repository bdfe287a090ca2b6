"""What every reader of files needs: an error that names the file, and no memory for what is not there."""

from __future__ import annotations

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

from anynet.errors import DataError

_BYTES_AT_ONCE = 1 << 20


@contextmanager
def reading(path: Path, kind: str) -> Iterator[BufferedReader]:
    """The open file; whatever goes wrong with it is a DataError that names it."""
    try:
        with open(path, "rb") as file:
            if not file.peek(1):
                raise DataError(f"{path} is empty")
            yield file
    except DataError:
        raise
    except MemoryError:
        raise DataError(f"{path} does not fit into memory") from None
    # Damaged bytes make csv, gzip, zipfile and NumPy raise errors of a dozen kinds.
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        raise DataError(f"{path} is damaged or no {kind}: {textwrap.shorten(str(error), 150)}") from error


def size_of(file: BufferedReader) -> float:
    """How many bytes are in a file, infinite for a pipe."""
    status = os.fstat(file.fileno())
    return status.st_size if stat.S_ISREG(status.st_mode) else math.inf


def read_numbers(
    name: str, stream: Any, dtype: Any, shape: tuple[int, ...], most: float, fortran_order: bool = False
) -> Any:
    """The rest of a stream as an array of this machine's byte order.

    Raises
    ------
    DataError
        When there are not exactly as many bytes as the shape says, or it says more than `most`.
    """
    expected = _size_said(name, dtype, shape)
    data = bytearray()
    # The shape is only a claim, so memory is taken as bytes arrive.
    while len(data) < expected <= most and (some := stream.read(min(_BYTES_AT_ONCE, expected - len(data)))):
        data += some
    check_shape(name, dtype, shape, len(data) + len(stream.read(1)))
    array = np.frombuffer(data, dtype)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array.reshape(shape, order="F" if fortran_order else "C")


def check_shape(name: str, dtype: Any, shape: tuple[int, ...], found: float) -> None:
    """Raise a DataError where a file does not hold exactly as many bytes of numbers as its shape says."""
    expected = _size_said(name, dtype, shape)
    said = f"{reprlib.repr(shape)} of {dtype.name}"
    if found < expected:
        raise DataError(f"{name} is truncated: it is too short for its shape {said}")
    if found > expected:
        raise DataError(f"{name} is damaged: it is too long for its shape {said}")


def _size_said(name: str, dtype: Any, shape: tuple[int, ...]) -> int:
    if not shape or min(shape) < 1:
        raise DataError(f"{name} holds no samples: its shape is {reprlib.repr(shape)} of {dtype.name}")
    return math.prod(shape) * int(dtype.itemsize)
