"""Loading data by name or path, with the reader that the path needs."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from functools import partial
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.builtin import circles, mnist
from anynet.datasets.dataset import Dataset
from anynet.datasets.idx import idx_shape, read_idx
from anynet.datasets.images import read_images
from anynet.datasets.npy import map_npy, npy_header, read_npy, read_npz
from anynet.datasets.on_disk import OnDisk
from anynet.datasets.reading import check_limit
from anynet.datasets.tables import read_csv
from anynet.errors import DataError, ShapeError, unknown

STAYS_ON_DISK = 256 << 20
BUILTIN = {"mnist": mnist, "circles": circles}


def load(
    source: str | Path,
    target: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    max_bytes: int | None = None,
    max_classes: int | None = None,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
) -> Dataset:
    """Load data by name or by path.

    Parameters
    ----------
    source : str or Path
        ``mnist`` and ``circles`` come with anynet. ``FILE.csv`` has a header. ``FILE.npz`` holds arrays named x and y,
        and optionally x_test and y_test. ``X.npy,Y.npy``, or ``IMAGES,LABELS`` in the IDX format, plain or gzipped, are
        two files joined by a comma; a single file gives no y. A pattern such as ``x-*.npy`` stands for all files that
        match, in the order of their names. Such files, and a .npy file of 256 MiB or more, stay on disk: their rows are
        read when they are needed. A folder holds images, as `read_images` says.
    target : str, optional
        The column of a CSV file to predict.
    features, classes : sequence of str, optional
        The columns of x and the class names of a CSV file or of images, if they are already known; see `read_csv`.
    max_bytes : int, optional
        How many bytes a compressed file may unpack to; by default 10 times its size, but at least 256 MiB.
    max_classes : int, optional
        How many classes the target of a CSV file may name; see `read_csv`.
    image_size : tuple of int, optional
        The height and width that images are scaled to; see `read_images`.
    channels : int, optional
        Whether images are read in grey (1) or colours (3); see `read_images`.

    Raises
    ------
    DataError
        When there is no such data, or it cannot be read.
    UsageError
        When a limit is not a whole number, 1 or more.

    >>> load("circles").y[:5]
    array([1, 1, 1, 1, 0])
    """
    check_limit("max_bytes", max_bytes)
    check_limit("max_classes", max_classes)
    source = str(source)
    if source.endswith(".csv"):
        return read_csv(source, target, features=features, classes=classes, max_classes=max_classes)
    if target is not None:
        raise DataError(f"a target names a column of a CSV file, but {source} is none")
    if source in BUILTIN:
        return BUILTIN[source]()
    if os.path.isdir(source):
        return read_images(source, classes, image_size, channels)
    return _read_npz(Path(source), max_bytes) if source.endswith(".npz") else _read_pair(source, max_bytes)


def _read_pair(source: str, max_bytes: int | None) -> Dataset:
    parts = source.split(",")
    if len(parts) > 2 or not all(parts):
        raise DataError(f"expected a file, or two as X,Y, but got {source!r}")
    if len(parts) == 1 and not os.path.exists(source) and not set(".*/") & set(source):
        raise DataError(
            unknown("dataset", source, BUILTIN) + "; or the path of a .csv, .npz, .npy or IDX file, or of a folder"
        )
    names = ("x", "y")[: len(parts)]
    _check_shapes(source, {name: _shape_of(part, max_bytes) for name, part in zip(names, parts, strict=True)})
    arrays = {name: _read_one(part, max_bytes) for name, part in zip(names, parts, strict=True)}
    if "y" in arrays:
        arrays["y"] = np.asarray(arrays["y"])
    _check_arrays(source, arrays)
    return Dataset(Path(parts[0]).name.split(".")[0].rstrip("*-_") or "data", *arrays.values())


def _shape_of(part: str, max_bytes: int | None) -> tuple[int, ...]:
    """The shape of the array in one file, or in all files of a pattern, read from the headers alone."""
    if _is_pattern(part):
        return _mapped(part).shape
    path = Path(part)
    return npy_header(path).shape if path.suffix == ".npy" else idx_shape(path, max_bytes)


def _read_one(part: str, max_bytes: int | None) -> Any:
    if _is_pattern(part):
        return _mapped(part)
    path = Path(part)
    if path.suffix != ".npy":
        return read_idx(path, max_bytes=max_bytes)
    header = npy_header(path)
    return OnDisk([map_npy(path)]) if header.by_row and header.bytes >= STAYS_ON_DISK else read_npy(path)


def _is_pattern(part: str) -> bool:
    return "*" in part and not os.path.exists(part)


def _mapped(pattern: str) -> OnDisk:
    """The arrays of all files that a pattern matches, in the order of their names."""
    paths = sorted(glob(pattern))
    if not paths or not all(path.endswith(".npy") for path in paths):
        raise DataError(f"{pattern} should match .npy files, but matches {reprlib.repr(paths) if paths else 'none'}")
    return OnDisk([map_npy(Path(path)) for path in paths])


def _read_npz(path: Path, max_bytes: int | None) -> Dataset:
    arrays = read_npz(path, ("x", "y", "x_test", "y_test"), partial(_check_shapes, path), max_bytes)
    _check_arrays(path, arrays)
    return Dataset(path.stem, *map(arrays.get, ("x", "y", "x_test", "y_test")))


def _check_shapes(path: object, shapes: dict[str, tuple[int, ...]]) -> None:
    _check_rows(path, shapes["x"], shapes.get("y"))
    if not {"x_test", "y_test"} & set(shapes):
        return
    for name in ("x", "y"):
        train, test = shapes.get(name), shapes.get(f"{name}_test")
        if (train is None) != (test is None):
            there, missing = (name, f"{name}_test") if test is None else (f"{name}_test", name)
            raise DataError(f"{path} holds {there} but no {missing}")
        if train and test and train[1:] != test[1:]:
            raise ShapeError(f"{path}: each row of {name} has shape {train[1:]}, but of {name}_test {test[1:]}")
    _check_rows(path, shapes["x_test"], shapes.get("y_test"), "_test")


def _check_rows(source: object, x: tuple[int, ...], y: tuple[int, ...] | None = None, part: str = "") -> None:
    if y is not None and x[0] != y[0]:
        raise ShapeError(f"{source}: x{part} has {x[0]} rows, but y{part} has {y[0]}")


def _check_arrays(source: object, arrays: dict[str, Any]) -> None:
    # A file may have changed after its header was read.
    _check_shapes(source, {name: values.shape for name, values in arrays.items()})
    for name, values in arrays.items():
        # Training checks the values of data on disk, so they are not read here, too.
        if not isinstance(values, OnDisk) and values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0])
            found = f"{name} holds {values[at]} in row {at[0]}"
            raise DataError(f"{source}: {found}: every value must be a finite number")
