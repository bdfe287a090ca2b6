"""A person's own data: which reader a path needs."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.builtin import circles, mnist
from anynet.datasets.dataset import Dataset
from anynet.datasets.idx import read_idx
from anynet.datasets.tables import read_csv
from anynet.errors import DataError, unknown

BUILTIN = {"mnist": mnist, "circles": circles}


def load(
    source: str,
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
    if source in BUILTIN:
        data = BUILTIN[source]()
    elif source.endswith(".npz"):
        data = _read_npz(Path(source))
    elif source.endswith(".csv"):
        return read_csv(source, target, features=features, classes=classes)
    else:
        data = _read_pair(source)
    if target is not None:
        raise DataError(f"--target names a column of a CSV file, but {source} is none")
    return data


def _read_pair(source: str) -> Dataset:
    paths = [Path(part) for part in source.split(",")]
    if len(paths) == 1 and not paths[0].exists() and "." not in source and "/" not in source:
        raise DataError(unknown("dataset", source, BUILTIN) + "; or the path of a .csv, .npz, .npy or IDX file")
    if len(paths) > 2:
        raise DataError(f"expected X,Y, two files, but got {len(paths)}: {source}")
    arrays = [_read_npy(path) if path.suffix == ".npy" else read_idx(path) for path in paths]
    return Dataset(paths[0].name.split(".")[0], *_checked(source, *arrays))


def _read_npy(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is no .npy file of numbers: {error}") from None


def _read_npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(f"{path} is no .npz file of numbers: {error}") from None
    if "x" not in arrays:
        raise DataError(f"{path} should hold an array x (and y, x_test, y_test), but holds {', '.join(arrays) or 'nothing'}")
    x, y = _checked(path, arrays["x"], arrays.get("y"))
    if "x_test" not in arrays:
        return Dataset(path.stem, x, y)
    return Dataset(path.stem, x, y, *_checked(path, arrays["x_test"], arrays.get("y_test")))


def _checked(source: object, x: Any, y: Any = None) -> tuple[Any, Any]:
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"{source} is empty: x has shape {x.shape}")
    if y is not None and (y.ndim == 0 or len(y) != len(x)):
        raise DataError(f"{source}: x has {len(x)} rows, but y has shape {y.shape}")
    return x, y
