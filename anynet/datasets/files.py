"""A person's own data: which reader a path needs."""

from __future__ import annotations

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
    if len(paths) == 1 and not paths[0].exists() and "." not in source and "/" not in source:
        raise DataError(unknown("dataset", source, BUILTIN) + "; or the path of a .csv, .npz, .npy or IDX file")
    arrays = [read_npy(path) if path.suffix == ".npy" else read_idx(path) for path in paths]
    _check(source, *arrays)
    return Dataset(paths[0].name.split(".")[0], *arrays)


def _read_npz(path: Path) -> Dataset:
    x, y, x_test, y_test = read_npz(path, ("x", "y", "x_test", "y_test"))
    _check(path, x, y)
    if x_test is None and y_test is not None:
        raise DataError(f"{path} holds y_test but no x_test")
    if x_test is not None:
        _check(path, x_test, y_test, "_test")
        for name, train, test in (("x", x, x_test), ("y", y, y_test)):
            if _sample_shape(train) != _sample_shape(test):
                raise ShapeError(
                    f"{path}: each row of {name} has shape {_sample_shape(train)}, "
                    f"but of {name}_test {_sample_shape(test)}"
                )
    return Dataset(path.stem, x, y, x_test, y_test)


def _sample_shape(values: Any) -> tuple[int, ...] | None:
    return None if values is None else values.shape[1:]


def _check(source: object, x: Any, y: Any = None, part: str = "") -> None:
    for name, values in (("x", x), ("y", y)):
        if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0, 0])
            raise DataError(f"{source}: {name}{part} holds nan or inf in row {row}: every value must be a finite number")
    if y is not None and len(y) != len(x):
        raise ShapeError(f"{source}: x{part} has {len(x)} rows, but y{part} has {len(y)}")
