"""NumPy's own formats, .npy and .npz, for arrays of numbers; nothing in them is ever unpickled."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib import format as npy

from anynet.datasets.reading import check_shape, check_unpacked, read_numbers, reading, size_of
from anynet.errors import DataError, listed

# Version 3 is for field names, which an array of numbers does not have.
_HEADERS = {(1, 0): (2, npy.read_array_header_1_0), (2, 0): (4, npy.read_array_header_2_0)}
_LONGEST_HEADER = 10_000
_LARGEST_DIRECTORY = 4 << 20

Shape: TypeAlias = tuple[int, ...]


class Header(NamedTuple):
    """The header of an array in a file."""

    shape: Shape
    fortran_order: bool
    dtype: Any

    @property
    def by_row(self) -> bool:
        return len(self.shape) < 2 or not self.fortran_order

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * int(self.dtype.itemsize)


def npy_header(path: Path) -> Header:
    """The header of a .npy file, after a check that the file is as long as it says.

    Raises
    ------
    DataError
        When the file is missing, damaged, empty, or holds no numbers.
    """
    with _opened(path) as (_, header):
        return header


def read_npy(path: Path) -> Any:
    """The array in a .npy file; raises the errors of `npy_header`."""
    with _opened(path) as (file, header):
        return _read(str(path), file, header)


def map_npy(path: Path) -> Any:
    """The array in a .npy file, mapped into memory and read when needed; raises the errors of `npy_header`."""
    with _opened(path) as (file, header):
        if not header.by_row:
            raise DataError(f"{path} is stored column by column, so its rows cannot be read one by one")
        # Map the open file, not its path, which may name another file by now.
        return np.memmap(file, header.dtype, mode="r", offset=file.tell(), shape=header.shape)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[io.BufferedReader, Header]]:
    with reading(path, ".npy file") as file:
        header = _read_header(str(path), file)
        check_shape(str(path), header.dtype, header.shape, size_of(file) - file.tell())
        yield file, header


def read_npz(
    path: Path, names: Sequence[str], check: Callable[[dict[str, Shape]], None], max_bytes: int | None = None
) -> dict[str, Any]:
    """The arrays of these names in a .npz file. The first must be there, the others may be missing.

    Parameters
    ----------
    path : Path
    names : sequence of str
    check : callable
        Called with the shape of each array before any is read, so that arrays that do not fit each other take no
        memory.
    max_bytes : int, optional
        How many bytes the compressed arrays may unpack to, all together.

    Raises
    ------
    DataError
        When the file is missing or damaged, the first array is missing, or an array is there twice, is empty, is too
        large or does not hold numbers.
    """
    with reading(path, ".npz file") as plain, _Bounded(plain) as file, zipfile.ZipFile(file) as archive:
        held = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        if names[0] not in held:
            wanted = f"an array {names[0]} (and perhaps {', '.join(names[1:])})"
            raise DataError(f"{path} should hold {wanted}, but holds {listed(held) or 'nothing'}")
        names, shapes, unpacked = [name for name in names if name in held], {}, 0
        for name in names:
            if held.count(name) > 1:
                raise DataError(f"{path} holds {held.count(name)} arrays {name}")
            with _member(path, archive, name, size_of(file)) as (_, header):
                shapes[name] = header.shape
            info = archive.getinfo(f"{name}.npy")
            unpacked += info.file_size if info.compress_type == zipfile.ZIP_DEFLATED else 0
        check_unpacked(str(path), unpacked, size_of(file), max_bytes)
        check(shapes)
        arrays = {}
        for name in names:
            with _member(path, archive, name, size_of(file)) as (member, header):
                arrays[name] = _read(f"{path}: {name}", member, header)
        return arrays


@contextmanager
def _member(path: Path, archive: zipfile.ZipFile, name: str, size: int) -> Iterator[tuple[IO[bytes], Header]]:
    info = archive.getinfo(f"{name}.npy")
    # Python unpacks other compressions as a whole, however large the result is.
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{path}: {name} is packed as .npz files are not; save it with numpy.savez_compressed")
    most = size if info.compress_type == zipfile.ZIP_STORED else info.file_size
    with archive.open(info) as member:
        header = _read_header(f"{path}: {name}", member)
        check_shape(f"{path}: {name}", header.dtype, header.shape, min(info.file_size, most) - member.tell())
        yield member, header


class _Bounded(io.BufferedReader):
    """A file that refuses very large reads, such as a zip directory of a hundred thousand names."""

    def __init__(self, file: io.BufferedReader) -> None:
        super().__init__(file.raw)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGEST_DIRECTORY:
            raise ValueError(f"it holds too many members: the list of them has {size:,} bytes")
        return super().read(size)


def _read_header(name: str, stream: IO[bytes]) -> Header:
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise DataError(f"{name} has .npy version {version[0]}.{version[1]}, but arrays of numbers have 1.0 or 2.0")
    width, parse = _HEADERS[version]
    length = stream.read(width)
    if (said := int.from_bytes(length, "little")) > _LONGEST_HEADER:
        raise DataError(f"{name} is damaged: a header of {said:,} bytes is none of an array of numbers")
    try:
        shape, fortran_order, dtype = parse(io.BytesIO(length + stream.read(said)))
    # Python's parser raises MemoryError for deep nesting.
    except (MemoryError, RecursionError):
        raise DataError(f"{name} is damaged: its header is nested too deeply") from None
    if dtype.kind not in "biuf":
        raise DataError(f"{name} must hold numbers, but its dtype is {dtype}")
    return Header(shape, fortran_order, dtype)


def _read(name: str, stream: IO[bytes], header: Header) -> Any:
    return read_numbers(name, stream, header.dtype, header.shape, header.fortran_order)
