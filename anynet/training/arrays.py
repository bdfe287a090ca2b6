"""What comes in is looked at once, here, so that the maths need not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anynet.backends import to_numpy
from anynet.datasets.mapped import mapping_under
from anynet.datasets.npy import map_npy
from anynet.datasets.on_disk import OnDisk, pieces
from anynet.errors import DataError, ShapeError
from anynet.nn import Loss
from anynet.nn.layer import Shape

_LARGEST = np.finfo(np.float32).max.astype(np.float64)


def check_inputs(x: Any, shape: Shape | None = None) -> Any:
    """Inputs as a host array of bytes or finite floats, or `OnDisk`, with one row for each sample.

    Raises
    ------
    DataError
        When there are no samples, or something is no finite number.
    ShapeError
        When `shape` is given and the samples have another.

    >>> check_inputs([[1, 2]]).dtype
    dtype('float64')
    """
    x = _numbers(x, "x")
    if x.ndim == 0:
        raise ShapeError("x must have one row for each sample, but is a single number")
    if len(x) == 0:
        raise DataError(f"there are no samples: x has shape {x.shape}")
    if x.size == 0:
        raise DataError(f"the samples hold no numbers: x has shape {x.shape}")
    if shape is not None and x.shape[1:] != shape:
        raise ShapeError(f"the network takes samples of shape {shape}, but x has samples of shape {x.shape[1:]}")
    return x if x.dtype.kind == "f" or x.dtype == np.uint8 else x.astype(np.float64)


def check_targets(target: Any, samples: int, loss: Loss, out_shape: Shape) -> Any:
    """Targets as a host array of the kind the loss compares with, shaped like the network's output.

    Raises
    ------
    DataError
        When a label or probability is out of range, or something is no finite number.
    ShapeError
        When the number of rows or the shape of each does not fit.
    """
    name = type(loss).__name__
    target = np.asarray(_numbers(target, "the target"))
    if target.ndim == 0 or len(target) != samples:
        raise ShapeError(f"x has {samples} samples, so the target must have as many rows, but has shape {target.shape}")
    if loss.target_kind == "class":
        return _check_labels(target, name, out_shape)
    target = target.astype(np.float64) if target.dtype.kind != "f" else target
    if _without_ones(target.shape[1:]) != _without_ones(out_shape):
        raise ShapeError(
            f"the network's output has shape {out_shape} for each sample, so {name} needs a target of shape "
            f"{(samples, *out_shape)}, but got {target.shape}"
        )
    if loss.target_kind == "probability" and not (target.min() >= 0 and target.max() <= 1):
        raise DataError(f"{name} needs targets from 0 to 1, but they go from {target.min()} to {target.max()}")
    return target.reshape(samples, *out_shape)


def check_weights(weight: Any, samples: int) -> Any:
    """Sample weights as float64, ones where there are none."""
    if weight is None:
        # All the same one, so that memory does not grow with the samples.
        return np.broadcast_to(np.ones(1), (samples,))
    weight = np.asarray(_numbers(weight, "sample_weight"), dtype=np.float64)
    if weight.shape != (samples,):
        raise ShapeError(f"x has {samples} samples, so sample_weight must have shape ({samples},), not {weight.shape}")
    if (weight < 0).any() or not weight.any():
        raise DataError("sample weights must be 0 or more, and not all 0")
    return weight


def _numbers(values: Any, name: str) -> Any:
    if values is None:
        raise DataError(f"{name} is missing")
    array = _on_disk(values)
    try:
        array = to_numpy(values) if array is None else array
    # What cannot be an array, or cannot leave its library, is a ValueError to NumPy and other things elsewhere.
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name} must be a rectangular array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold numbers, but its dtype is {array.dtype}")
    if array.dtype.kind == "f":
        for start, piece in pieces(array):
            _check_finite(piece, name, start)
    return array


def _on_disk(values: Any) -> OnDisk | None:
    """Memory-mapped arrays and paths of files, to be read as they are needed."""
    if isinstance(values, (list, tuple)) and values and all(map(_is_file, values)):
        return OnDisk([map_npy(Path(value)) for value in values])
    holds_rows = isinstance(values, np.ndarray) and values.ndim and values.size and values.dtype.kind in "fiub"
    if holds_rows and mapping_under(values):
        return OnDisk([values])
    return values if isinstance(values, OnDisk) else None


def _is_file(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and value.endswith(".npy"))


def _check_finite(array: Any, name: str, first_row: int) -> None:
    # Through nan both comparisons fail; through a larger number than this float32 would become infinite.
    if array.size and not (array.min() >= -_LARGEST and array.max() <= _LARGEST):
        at = tuple(np.argwhere(~(np.abs(array) <= _LARGEST))[0])
        limit = "a finite number" if not np.isfinite(array[at]) else f"between -{_LARGEST:.2g} and {_LARGEST:.2g}"
        row = first_row + (at[0] if at else 0)
        raise DataError(f"{name} holds {array[at]} in row {row}: every value must be {limit}")


def _without_ones(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def _check_labels(target: Any, name: str, out_shape: Shape) -> Any:
    if len(out_shape) != 1:
        raise ShapeError(
            f"{name} needs one row of class scores a sample, but the network gives shape {out_shape}; "
            "is there a Flatten() missing before the first Linear?"
        )
    if target.ndim == 2 and target.shape[1] == 1:
        target = target[:, 0]
    if target.ndim != 1:
        raise ShapeError(f"{name} needs one class number a sample, but the target has shape {target.shape}")
    if target.dtype.kind == "f" and len(fractions := np.flatnonzero(target != np.floor(target))):
        raise DataError(f"{name} needs class numbers, but row {fractions[0]} has {target[fractions[0]]}")
    outside = np.flatnonzero((target < 0) | (target >= out_shape[0]))
    if len(outside):
        raise DataError(
            f"the network tells {out_shape[0]} classes apart, so labels must be 0 to {out_shape[0] - 1}, "
            f"but row {outside[0]} has {target[outside[0]]}"
        )
    return target.astype(np.int32)
