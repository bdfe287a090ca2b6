"""The IDX format of MNIST: big-endian, two zero bytes, a type, the number of axes, their lengths, the data."""

from __future__ import annotations

import gzip
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.reading import read_numbers, reading, size_of
from anynet.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate's densest code: 258 bytes in two bits.
_MOST_EXPANSION = 1032


def read_idx(path: str | Path) -> Any:
    """An IDX file, plain or gzipped, as an array in this machine's byte order.

    Raises
    ------
    DataError
        When the file is missing, is no IDX file, is empty, or is shorter or longer than it says.
    """
    path = Path(path)
    with reading(path, "IDX file") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        with gzip.open(file) if zipped else nullcontext(file) as stream:
            start = stream.read(4)
            if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
                found = f"it starts with '{start.hex(' ')}', not with 00 00 and a type byte"
                raise DataError(f"{path} is no IDX file: {found}")
            dtype, axes = np.dtype(_TYPES[start[2]]), start[3]
            lengths = stream.read(4 * axes)
            if len(lengths) < 4 * axes:
                raise DataError(f"{path} is truncated: it ends within its header")
            most = size_of(file) * (_MOST_EXPANSION if zipped else 1)
            return read_numbers(str(path), stream, dtype, struct.unpack(f">{axes}I", lengths), most)
