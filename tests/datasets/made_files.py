"""Files of data, as they should be and as they should not, and what reading them says and takes."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets import load
from anynet.errors import DataError

IDX_TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MOST = 2**32 - 1


def idx(kind: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    return bytes([0, 0, IDX_TYPES[kind], len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_header(header: str, version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(header)) + header.encode()


def npz(
    compression: int = zipfile.ZIP_DEFLATED, suffix: str = ".npy", sizes: dict[str, int] | None = None, **members: Any
) -> bytes:
    """The arrays, or bytes, as members of an archive, some of them said to have other sizes than they have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name + suffix, member if isinstance(member, bytes) else npy(member))
        for name, size in (sizes or {}).items():
            archive.getinfo(name + suffix).file_size = size
    return file.getvalue()


def twice(name: str, member: bytes) -> bytes:
    """An archive that holds an array twice."""
    return npz(**{name: member, name.upper(): member}).replace(f"{name.upper()}.npy".encode(), f"{name}.npy".encode())


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(source: Path | str, *arguments: Any, **named: Any) -> str:
    """What a reader sees of an error, without the name of the file; nothing if there is none."""
    try:
        load(source, *arguments, **named)
    except DataError as error:
        return str(error).replace(str(source), "FILE")
    return ""


def peak(run: Callable[[], object]) -> int:
    """The most bytes that were held at once while it ran."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SAMPLE = np.arange(6, dtype=np.uint8).reshape(2, 3)
IDX, NPY = idx("u1", (2, 3), SAMPLE.tobytes()), npy(SAMPLE)
GOOD = {
    "x.idx": IDX,
    "x.gz": gzip.compress(IDX),
    "x.npy": NPY,
    "x.npz": npz(x=SAMPLE, y=np.arange(2), x_test=SAMPLE[:1], y_test=np.arange(1)),
    "x.csv": b'a,"b\nc",y\n1,2.5,cat\n"3\n",4,dog\n',
}
