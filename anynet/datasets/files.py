"""A person's own data: which reader a path needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.builtin import circles, mnist
from anynet.datasets.dataset import Dataset
from anynet.datasets.idx import read_idx
from anynet.datasets.npy import read_npy, read_npz
from anynet.datasets.tables import read_csv
from anynet.errors import DataError, ShapeError, unknown

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
    paths = [Path(part) for part in parts]
    if len(paths) == 1 and not os.path.exists(source) and "." not in source and "/" not in source:
        raise DataError(unknown("dataset", source, BUILTIN) + "; or the path of a .csv, .npz, .npy or IDX file")
    arrays = [read_npy(path) if path.suffix == ".npy" else read_idx(path) for path in paths]
    _check(source, *arrays)
    return Dataset(paths[0].name.split(".")[0], *arrays)


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
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            at = tuple(np.argwhere(~np.isfinite(values))[0])
            found = f"{name}{part} holds {values[at]} in row {at[0]}"
            raise DataError(f"{source}: {found}: every value must be a finite number")
    if y is not None and len(y) != len(x):
        raise ShapeError(f"{source}: x{part} has {len(x)} rows, but y{part} has {len(y)}")
