"""The user's data: checks, the split, and the mean and deviation of columns."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from anynet.cli.config import TrainConfig
from anynet.datasets import Dataset, load
from anynet.datasets.on_disk import OnDisk, pieces
from anynet.errors import DataError
from anynet.model import Model
from anynet.model.data_validation import check_inputs
from anynet.training.rng import generator


def data_of(config: TrainConfig) -> Dataset:
    """Load the data that a config names, and check them."""
    size = (config.image_size[0], config.image_size[-1]) if config.image_size else None
    limits: dict[str, Any] = {"max_bytes": config.max_bytes, "max_classes": config.max_classes}
    return check_data(load(config.data, config.target, image_size=size, **limits))


def data_like(model: Model, source: str, target: str | None = None, **known: Any) -> Dataset:
    """Load data for a trained model, and check them; images are scaled as those that it was trained on."""
    shape = model.input_shape
    if os.path.isdir(source) and isinstance(shape, tuple) and len(shape) in (2, 3):
        known |= {"image_size": shape[:2], "channels": 3 if len(shape) == 3 else 1}
    return check_data(load(source, target, **known))


def check_data(data: Dataset) -> Dataset:
    """Check the inputs; samples that are single numbers become rows of one number.

    Raises
    ------
    DataError
        When x holds anything but finite numbers.
    """
    x, x_test = (None if part is None else _columns(check_inputs(part)) for part in (data.x, data.x_test))
    return dataclasses.replace(data, x=x, x_test=x_test)


def _columns(x: Any) -> Any:
    if isinstance(x, OnDisk) and x.ndim == 1:
        raise DataError("x holds single numbers, and is too large to be read into memory: save it as rows of one")
    return x[:, None] if x.ndim == 1 else x


def split(data: Dataset, share: float, seed: int) -> tuple[Dataset, tuple[Any, Any] | None]:
    """Split off a random share of the data; returns the rest, and the share, or None if that is 0."""
    if share == 0:
        return data, None
    held = round(share * len(data.x))
    if not 0 < held < len(data.x):
        raise DataError(
            f"a validation share of {share} of {len(data.x)} samples is {held}, and leaves {len(data.x) - held}"
        )
    order = generator(seed, "split").permutation(len(data.x))
    rest, out = order[held:], order[:held]
    return dataclasses.replace(data, x=_only(data.x, rest), y=data.y[rest]), (_only(data.x, out), data.y[out])


def _only(x: Any, rows: Any) -> Any:
    return x.only(rows) if isinstance(x, OnDisk) else x[rows]


def as_rows(values: Any) -> Any:
    """One row of float64 for each sample."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


@np.errstate(under="ignore")
def mean_and_std(x: Any, columns: int) -> tuple[Any, Any]:
    """The mean and the standard deviation of each column; the deviation is 1 if only rounding makes a column vary.

    Columns are the last axis of x, or all its axes but the first, flattened; so `columns` says which.

    Pieces are joined by the method of Chan, Golub and LeVeque (1979), so that a large mean does not blur the deviation.
    """
    count, mean, squares, largest = 0, 0.0, 0.0, 0.0
    for _, piece in pieces(x):
        rows = as_rows(piece).reshape(-1, columns)
        apart = rows.mean(axis=0) - mean
        squares = squares + ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)
        squares = squares + apart**2 * (count * len(rows) / (count + len(rows)))
        count += len(rows)
        mean = mean + apart * (len(rows) / count)
        largest = np.maximum(largest, np.abs(rows).max(axis=0))
    spread = np.sqrt(squares / count)
    return mean, np.where(spread > count * np.finfo(np.float64).eps * largest, spread, 1.0)
