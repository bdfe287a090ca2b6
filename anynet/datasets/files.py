"""A person's own data: which reader a path needs."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.builtin import circles, mnist
from anynet.datasets.dataset import Dataset
from anynet.datasets.idx import read_idx
from anynet.datasets.npy import has_rows, map_npy, read_npy, read_npz
from anynet.datasets.on_disk import OnDisk
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
) -> Dataset:
    """Data by name or by path.

    ``mnist`` and ``circles`` come with anynet. ``FILE.npz`` holds arrays named x and y, and perhaps x_test and
    y_test. ``FILE.csv`` has a header; `target` names the column to predict. ``X.npy,Y.npy`` and
    ``IMAGES,LABELS`` in the IDX format, plain or gzipped, are two files joined by a comma; one alone has no y.
    A pattern such as ``x-*.npy`` stands for all files it matches, one after the other. Those, and a .npy file of
    256 MiB or more, stay on disk and are read as they are needed.
    `features` and `classes` are those of a CSV file whose meaning is already known.

    Raises
    ------
    DataError
        When there is no such data, or it cannot be read.

    >>> load("circles").y[:5]
    array([1, 1, 1, 1, 0])
    """
    source = str(source)
    if source.endswith(".csv"):
        return read_csv(source, target, features=features, classes=classes)
    if target is not None:
        raise DataError(f"a target names a column of a CSV file, but {source} is none")
    if source in BUILTIN:
        return BUILTIN[source]()
    return _read_npz(Path(source)) if source.endswith(".npz") else _read_pair(source)


def _read_pair(source: str) -> Dataset:
    parts = source.split(",")
    if len(parts) > 2 or not all(parts):
        raise DataError(f"expected a file, or two as X,Y, but got {source!r}")
    if len(parts) == 1 and not os.path.exists(source) and not set(".*/") & set(source):
        raise DataError(unknown("dataset", source, BUILTIN) + "; or the path of a .csv, .npz, .npy or IDX file")
    x, *y = [_read_one(part) for part in parts]
    y = [np.asarray(values) for values in y]
    _check(source, x, *y)
    return Dataset(Path(parts[0]).name.split(".")[0].rstrip("*-_") or "data", x, *y)


def _read_one(part: str) -> Any:
    """One file's array, or that of all files a pattern matches, in the order of their names."""
    if "*" in part and not os.path.exists(part):
        paths = sorted(glob(part))
        if not paths or not all(path.endswith(".npy") for path in paths):
            raise DataError(f"{part} should match .npy files, but matches {reprlib.repr(paths) if paths else 'none'}")
        return OnDisk([map_npy(Path(path)) for path in paths])
    path = Path(part)
    if path.suffix != ".npy":
        return read_idx(path)
    large = path.is_file() and path.stat().st_size >= STAYS_ON_DISK and has_rows(path)
    return OnDisk([map_npy(path)]) if large else read_npy(path)


def _read_npz(path: Path) -> Dataset:
    x, y, x_test, y_test = read_npz(path, ("x", "y", "x_test", "y_test"))
    _check(path, x, y)
    if x_test is None and y_test is None:
        return Dataset(path.stem, x, y)
    for name, train, test in (("x", x, x_test), ("y", y, y_test)):
        if (train is None) != (test is None):
            there, missing = (name, f"{name}_test") if test is None else (f"{name}_test", name)
            raise DataError(f"{path} holds {there} but no {missing}")
        if train is not None and train.shape[1:] != test.shape[1:]:
            shapes = f"each row of {name} has shape {train.shape[1:]}, but of {name}_test {test.shape[1:]}"
            raise ShapeError(f"{path}: {shapes}")
    _check(path, x_test, y_test, "_test")
    return Dataset(path.stem, x, y, x_test, y_test)


def _check(source: object, x: Any, y: Any = None, part: str = "") -> None:
    for name, values in (("x", x), ("y", y)):
        # What lies on disk is looked at once, when it is trained on.
        if values is None or isinstance(values, OnDisk) or values.dtype.kind != "f":
            continue
        if not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0])
            found = f"{name}{part} holds {values[at]} in row {at[0]}"
            raise DataError(f"{source}: {found}: every value must be a finite number")
    if y is not None and len(y) != len(x):
        raise ShapeError(f"{source}: x{part} has {len(x)} rows, but y{part} has {len(y)}")
