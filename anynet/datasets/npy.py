"""NumPy's own formats, .npy and .npz, for arrays of numbers; nothing in them is ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from anynet.datasets.reading import check_shape, read_numbers, reading, size_of
from anynet.errors import DataError

# Version 3 is for the names of fields, which an array of numbers has not.
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(path: Path) -> Any:
    """The array in a .npy file.

    Raises
    ------
    DataError
        When the file is missing, damaged, empty, or holds no numbers.
    """
    with reading(path, ".npy file") as file:
        return _read_array(str(path), file, size_of(file))


def has_rows(path: Path) -> bool:
    """Whether a .npy file holds its array row by row."""
    with reading(path, ".npy file") as file:
        shape, fortran_order, _ = _header(str(path), file)
        return len(shape) < 2 or not fortran_order


def map_npy(path: Path) -> Any:
    """The array in a .npy file, mapped into memory and read as it is needed.

    Raises
    ------
    DataError
        When the file is missing, is not as long as it says, is empty, or holds no numbers.
    """
    with reading(path, ".npy file") as file:
        shape, fortran_order, dtype = _header(str(path), file)
        if fortran_order and len(shape) > 1:
            raise DataError(f"{path} is stored column by column, so its rows cannot be read one by one")
        check_shape(str(path), dtype, shape, size_of(file) - file.tell())
        return np.memmap(path, dtype, mode="r", offset=file.tell(), shape=shape)


def read_npz(path: Path, names: Sequence[str]) -> list[Any]:
    """The arrays of these names in a .npz file, None for each that is missing; the first must be there.

    Raises
    ------
    DataError
        When the file is missing or damaged, or one of these arrays is missing, empty, or holds no numbers.
    """
    with reading(path, ".npz file") as file, zipfile.ZipFile(file) as archive:
        held = [member.removesuffix(".npy") for member in archive.namelist() if member.endswith(".npy")]
        if names[0] not in held:
            raise DataError(
                f"{path} should hold an array {names[0]} (and perhaps {', '.join(names[1:])}), "
                f"but holds {', '.join(held) or 'nothing'}"
            )
        return [_read_member(path, archive, name) if name in held else None for name in names]


def _read_member(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        return _read_array(f"{path}: {name}", member, info.file_size)


def _read_array(name: str, stream: IO[bytes], size: float) -> Any:
    shape, fortran_order, dtype = _header(name, stream)
    return read_numbers(name, stream, dtype, shape, size - stream.tell(), fortran_order)


def _header(name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    version = npy.read_magic(stream)
    if version not in _HEADERS:
        raise DataError(f"{name} has .npy version {version[0]}.{version[1]}, but arrays of numbers have 1.0 or 2.0")
    shape, fortran_order, dtype = _HEADERS[version](stream)
    if dtype.kind not in "biuf":
        raise DataError(f"{name} must hold numbers, but its dtype is {dtype}")
    return shape, fortran_order, dtype
