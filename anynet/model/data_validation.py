"""Checks of inputs, targets and sample weights, made once, before they reach layers and losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from anynet.backends import to_numpy
from anynet.datasets.mapped import mapping_under
from anynet.datasets.npy import map_npy
from anynet.datasets.on_disk import OnDisk, pieces
from anynet.errors import DataError, ShapeError, warn
from anynet.nn import Layer, Loss
from anynet.nn.checks import check_names
from anynet.nn.layer import InputShape, Shape
from anynet.nn.losses import target_shape
from anynet.training.inputs import count_rows, shape_of

_LARGEST = np.finfo(np.float32).max.astype(np.float64)
_LARGEST_WEIGHT = np.finfo(np.float64).max
# float64 holds every whole number up to here.
_LARGEST_WHOLE = 2**53


def check_numbers(values: Any, name: str, largest: Any = _LARGEST) -> Any:
    """Convert numbers from any array library to a host array, or `OnDisk`, and check that they are finite.

    Raises
    ------
    DataError
        When the values are missing or masked, or one is not a number between -largest and largest.
    """
    if values is None:
        raise DataError(f"{name} is missing")
    array: Any = _on_disk(values)
    try:
        masked = _masked(values)
        array = to_numpy(values) if array is None and not masked else array
    # Libraries raise different errors for ragged lists, and for arrays that cannot be copied to the host.
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{name} must be a rectangular array of numbers: {error}") from None
    if masked:
        raise DataError(
            f"{name} holds masked values ({masked}): fill them, as with .filled(0), or leave out their rows"
        )
    if array.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold numbers, but its dtype is {array.dtype}")
    if array.dtype.kind == "f":
        for start, piece in pieces(array):
            _check_finite(piece, name, start, largest)
    return array


def check_inputs(x: Any, shape: InputShape | None = None, indices: Any = None) -> Any:
    """Inputs as a host array of bytes or finite floats, or `OnDisk`, with one row for each sample; or a dict of them.

    Raises
    ------
    DataError
        When there are no samples, or a number is not finite, or not an index of as many rows as `indices` says.
    ShapeError
        When x is a single number, or its samples do not have the given `shape`; or it is a dict with other names than
        `indices`, or of arrays with different numbers of rows.

    >>> check_inputs([[1, 2]]).dtype
    dtype('float64')
    """
    return _check_input(check_names(x, indices, "x"), shape, indices, "x")


def _check_input(x: Any, shape: Any, indices: Any, name: str) -> Any:
    if isinstance(x, dict):
        shape, lengths = shape or dict.fromkeys(x), {}
        for key in x:
            x[key] = _check_input(x[key], shape[key], indices[key], f"{name}[{key!r}]")
            lengths[key] = count_rows(x[key])
        if len(set(lengths.values())) > 1:
            words = ", ".join(f"{key} has {rows}" for key, rows in lengths.items())
            raise ShapeError(f"all inputs must have one row for each sample, but {words}")
        return x
    x = check_numbers(x, name)
    if x.ndim == 0:
        raise ShapeError(f"{name} must have one row for each sample, but is a single number")
    if len(x) == 0:
        raise DataError(f"there are no samples: {name} has shape {x.shape}")
    if x.size == 0:
        raise DataError(f"the samples hold no numbers: {name} has shape {x.shape}")
    if shape is not None and x.shape[1:] != shape:
        raise ShapeError(f"the network takes samples of shape {shape}, but {name} has samples of shape {x.shape[1:]}")
    if indices is not None:
        for start, piece in pieces(x):
            _check_indices(piece, indices, start, name)
    return x if x.dtype == np.uint8 else _floats(x, name)


def _check_indices(x: Any, count: int, first_row: int, name: str) -> None:
    if x.min() < -count - 0.5 or x.max() > count - 0.5:
        at = tuple(np.argwhere((x < -count - 0.5) | (x > count - 0.5))[0])
        rows = f"the network's first layer has {count} rows, so {name} must hold indices from 0 to {count - 1}"
        raise DataError(f"{rows}, but row {first_row + at[0]} has {x[at]}")


def check_targets(target: Any, samples: int, loss: Loss, out_shape: Shape) -> Any:
    """Targets as a host array: int32 class numbers of shape (samples,), or floats in the shape of the output's values.

    Raises
    ------
    DataError
        When a label or probability is out of range, or a number is not finite.
    ShapeError
        When the number of rows, or the shape of a row, does not fit.
    """
    name = type(loss).__name__
    target = np.asarray(check_numbers(target, "the target"))
    if target.ndim == 0 or len(target) != samples:
        raise ShapeError(f"x has {samples} samples, so the target must have as many rows, but has shape {target.shape}")
    if loss.target_kind == "class":
        return _check_labels(target, name, out_shape)
    target, expected = _floats(target, "the target"), target_shape(loss, (samples, *out_shape))
    if _without_ones(target.shape[1:]) != _without_ones(expected[1:]):
        raise ShapeError(
            f"the network's output has shape {out_shape} for each sample, so {name} needs a target of shape "
            f"{expected}, but got {target.shape}"
        )
    if loss.target_kind == "probability" and not (target.min() >= 0 and target.max() <= 1):
        raise DataError(f"{name} needs targets from 0 to 1, but they go from {target.min()} to {target.max()}")
    return target.reshape(expected)


def check_weights(weight: Any, samples: int) -> Any:
    """Sample weights as float64, scaled so that the largest is between 0.5 and 1; ones if not given, or all equal.

    Only the ratios of weights matter. Scaling by a power of two rounds nothing, so weights that differ by such a factor
    give the same bytes. In float32, the scaled weights neither overflow nor all become 0.

    Raises
    ------
    DataError
        When a weight is negative or not finite, or all are 0.
    ShapeError
        When there is not one weight for each sample.

    >>> check_weights([1e300, 5e299], samples=2).round(3)
    array([0.747, 0.373])
    """
    # One number, broadcast, so that memory does not grow with the samples.
    ones = np.broadcast_to(np.ones(1), (samples,))
    if weight is None:
        return ones
    weight = np.asarray(check_numbers(weight, "sample_weight", _LARGEST_WEIGHT), dtype=np.float64)
    if weight.shape != (samples,):
        raise ShapeError(f"x has {samples} samples, so sample_weight must have shape ({samples},), not {weight.shape}")
    if (weight < 0).any() or not weight.any():
        raise DataError("sample weights must be 0 or more, and not all 0")
    if weight.min() == weight.max():
        return ones
    with np.errstate(under="ignore"):
        return np.ldexp(weight, -np.frexp(weight.max())[1])


def check_samples(
    network: Layer, loss: Loss, shape: InputShape | None, x: Any, y: Any, sample_weight: Any = None
) -> tuple[InputShape, Any, Any, Any]:
    """Check samples for a network and its loss; return the shape of one, and x, targets and weights on the host."""
    x = check_inputs(x, shape, network.indices)
    found: Any = shape_of(x)
    rows, (_, out_shape) = count_rows(x), network.parameters(found)
    return found, x, check_targets(y, rows, loss, out_shape), check_weights(sample_weight, rows)


def warn_of_one_class(target: Any, loss: Loss) -> None:
    """Warn if all targets are the same class, since nothing can be learned; the warning points to the user's call."""
    if loss.target_kind == "value" or len(target) < 2 or target.min() != target.max():
        return
    only = target.min()
    if loss.target_kind == "class" or only in (0, 1):
        same = f"all {len(target)} targets are class {int(only)}"
        warn(f"{same}: a network can only learn to predict that always; are rows of other classes missing?")


def _masked(values: Any) -> int:
    """Count the masked values of a NumPy masked array or a list of them; a plain array would unmask them."""
    if isinstance(values, (list, tuple)):
        return sum(map(_masked, values))
    return int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0


def _floats(array: Any, name: str) -> Any:
    """Floats as they are, booleans and whole numbers as float64."""
    if array.dtype.kind == "f":
        return array
    if array.dtype.itemsize == 8:
        for start, piece in pieces(array):
            if piece.size and not (piece.min() >= -_LARGEST_WHOLE and piece.max() <= _LARGEST_WHOLE):
                at = tuple(np.argwhere((piece < -_LARGEST_WHOLE) | (piece > _LARGEST_WHOLE))[0])
                limit = f"float64 holds every whole number only up to {_LARGEST_WHOLE}"
                raise DataError(f"{name} holds {piece[at]} in row {start + at[0]}: {limit}; scale or round it first")
    return array.astype(np.float64)


def _on_disk(values: Any) -> OnDisk | None:
    """Memory-mapped arrays and paths of .npy files as `OnDisk`, which reads rows when needed; else None."""
    if isinstance(values, (list, tuple)) and values and all(map(_is_file, values)):
        return OnDisk([map_npy(Path(value)) for value in values])
    holds_rows = isinstance(values, np.ndarray) and values.ndim and values.size and values.dtype.kind in "fiub"
    if holds_rows and mapping_under(values):
        return OnDisk([values])
    return values if isinstance(values, OnDisk) else None


def _is_file(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, str) and value.endswith(".npy"))


def _check_finite(array: Any, name: str, first_row: int, largest: Any) -> None:
    # Comparisons with nan are false. The default limit is the largest float32; beyond it, numbers become infinite.
    if array.size and not (array.min() >= -largest and array.max() <= largest):
        at = tuple(np.argwhere(~(np.abs(array) <= largest))[0])
        limit = "a finite number" if not np.isfinite(array[at]) else f"between -{largest:.2g} and {largest:.2g}"
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
