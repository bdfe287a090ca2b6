"""The IDX format of MNIST: big-endian, two zero bytes, a type, the number of axes, their lengths, the data."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from anynet.datasets.reading import (
    check_limit,
    check_shape,
    check_unpacked,
    read_numbers,
    reading,
    size_of,
    size_said,
)
from anynet.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate's densest code: 258 bytes in two bits.
_MOST_EXPANSION = 1032
_BYTES_AT_ONCE = 1 << 14


class _Opened(NamedTuple):
    """The stream after the header of a file, and what the header says."""

    rest: Any
    dtype: Any
    shape: tuple[int, ...]


def read_idx(path: str | Path, *, max_bytes: int | None = None) -> Any:
    """An IDX file, plain or gzipped, as an array in this machine's byte order.

    Parameters
    ----------
    path : str or Path
    max_bytes : int, optional
        How many bytes a gzipped file may unpack to; by default 10 times its size, but at least 256 MiB.

    Raises
    ------
    DataError
        When the file is missing, is not an IDX file, is empty, is shorter or longer than its header says, or unpacks to
        too many bytes.
    UsageError
        When `max_bytes` is not a whole number, 1 or more.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + b"abc")
    ...     read_idx(path)
    array([97, 98, 99], dtype=uint8)
    """
    check_limit("max_bytes", max_bytes)
    path = Path(path)
    with _opened(path, max_bytes) as file:
        return read_numbers(str(path), file.rest, file.dtype, file.shape)


def idx_shape(path: Path, max_bytes: int | None = None) -> tuple[int, ...]:
    """The shape in the header of an IDX file; a DataError if a file of this size cannot hold such an array."""
    with _opened(path, max_bytes) as file:
        return file.shape


@contextmanager
def _opened(path: Path, max_bytes: int | None) -> Iterator[_Opened]:
    with reading(path, "IDX file") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        stream = _Gunzip(file) if zipped else file
        start = stream.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in _TYPES:
            found = f"it starts with '{start.hex(' ')}', not with 00 00 and a type byte"
            raise DataError(f"{path} is no IDX file: {found}")
        dtype, axes = np.dtype(_TYPES[start[2]]), start[3]
        lengths = stream.read(4 * axes)
        if len(lengths) < 4 * axes:
            raise DataError(f"{path} is truncated: it ends within its header")
        shape = struct.unpack(f">{axes}I", lengths)
        claimed, packed = size_said(str(path), dtype, shape), size_of(file)
        if not zipped:
            check_shape(str(path), dtype, shape, packed - file.tell())
        else:
            check_shape(str(path), dtype, shape, min(claimed, packed * _MOST_EXPANSION))
            check_unpacked(str(path), claimed, packed, max_bytes)
        yield _Opened(stream, dtype, shape)


class _Gunzip:
    """A gzip file that is unpacked while it is read.

    zlib reads the headers, since it is fast even for very long ones. Only the last member may be empty, so that
    thousands of empty members take no time.
    """

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._packed = b""
        self._member = zlib.decompressobj(wbits=31)
        self._held = 0

    def read(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (some := self._some(size - len(data))):
            data += some
        return bytes(data)

    def _some(self, size: int) -> bytes:
        """At least one and at most `size` bytes; none at the end of the file."""
        while not self._member.eof or self._next_member():
            packed = self._packed or self._file.read(_BYTES_AT_ONCE)
            data = self._member.decompress(packed, size)
            self._packed = self._member.unconsumed_tail
            self._held += len(data)
            if data:
                return data
            if not packed and not self._member.eof:
                raise EOFError("Compressed file ended before the end-of-stream marker was reached")
        return b""

    def _next_member(self) -> bool:
        self._packed = self._member.unused_data or self._file.read(_BYTES_AT_ONCE)
        if not self._packed.strip(b"\0"):
            return False
        if not self._held:
            raise ValueError("a gzip member holds nothing")
        self._member = zlib.decompressobj(wbits=31)
        self._held = 0
        return True
