"""What every reader of files needs: an error that names the file, and no memory for what is not there."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

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
    # Damaged bytes make csv, gzip, zipfile and NumPy raise errors of a dozen kinds.
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        raise DataError(f"{path} is damaged or no {kind}: {textwrap.shorten(str(error), 150)}") from error


def read_numbers(name: str, stream: IO[bytes], dtype: Any, shape: tuple[int, ...], fortran_order: bool = False) -> Any:
    """The rest of a stream as an array of this machine's byte order; it must be exactly as long as `shape` says."""
    if not shape or min(shape) < 1:
        raise DataError(f"{name} holds no samples: its shape is {shape}")
    expected = math.prod(shape) * dtype.itemsize
    data = bytearray()
    # A shape is only a claim, so memory is taken as bytes arrive.
    while len(data) < expected and (some := stream.read(min(_BYTES_AT_ONCE, expected - len(data)))):
        data += some
    if len(data) < expected or stream.read(1):
        found = "more" if len(data) == expected else str(len(data))
        raise DataError(f"{name} should hold {expected} bytes for its shape {shape} of {dtype}, but holds {found}")
    array = np.frombuffer(data, dtype)
    if not dtype.isnative:
        array = array.byteswap(inplace=True).view(dtype.newbyteorder("="))
    return array.reshape(shape, order="F" if fortran_order else "C")
