"""What is assigned to a model is looked at here: its parts, and arrays for its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np

from anynet.backends import to_numpy
from anynet.errors import DataError, ShapeError, UsageError, unknown
from anynet.nn import Layout

if TYPE_CHECKING:
    from anynet.training.model import Model

T = TypeVar("T")
_METHODS = {
    "network": ("parameters", "forward", "backward"),
    "loss": ("__call__", "target_kind"),
    "optimizer": ("init", "update", "lr", "weight_decay"),
}


class Part(Generic[T]):
    """A part of a model, which decides what may be assigned to it, and when."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> Part[T]: ...
    @overload
    def __get__(self, model: Model, owner: type) -> T: ...
    def __get__(self, model: Model | None, owner: type) -> Any:
        return self if model is None else model._parts[self.name]

    def __set__(self, model: Model, part: T) -> None:
        model._assign(self.name, part)


def check_part(name: str, part: Any) -> None:
    """Raise a UsageError where a network, loss, optimizer or seed is none."""
    if name == "seed" and (not isinstance(part, (int, np.integer)) or isinstance(part, bool) or part < 0):
        raise UsageError(f"seed must be a whole number, 0 or more, but is {part!r}")
    if isinstance(part, type):
        raise UsageError(f"the {name} is the class {part.__name__}; make one, as in {part.__name__}(...)")
    if missing := [method for method in _METHODS.get(name, ()) if not hasattr(part, method)]:
        raise UsageError(f"the {name} is {part!r}, which is none: it has no {missing[0]}")


def check_validation(data: Any) -> tuple[Any, ...]:
    """Raise a UsageError where validation data are no (x, y) or (x, y, sample_weight)."""
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        found = f"{len(data)} of them" if isinstance(data, (tuple, list)) else type(data).__name__
        raise UsageError(f"validation_data must be (x, y) or (x, y, sample_weight), but got {found}")
    return tuple(data)


def check_arrays(arrays: Any, layout: Layout, dtype: str, *, complete: bool = True) -> dict[str, Any]:
    """Arrays of any library for the parameters and buffers of a network, as NumPy arrays of a dtype.

    Raises
    ------
    ShapeError
        When one has another shape than its parameter.
    DataError
        When one holds what is no finite number of that dtype.
    UsageError
        When the network has no parameter of such a name or, if they must be `complete`, when one is missing.
    """
    if not isinstance(arrays, Mapping):
        raise UsageError(f"arrays must come by name, as model.parameters has them, but came as {type(arrays).__name__}")
    shapes = layout.shapes((*layout.parameters, *layout.buffers))
    for name in arrays:
        if name not in shapes:
            raise UsageError(unknown("parameter", name, shapes))
    if complete and (missing := [name for name in shapes if name not in arrays]):
        raise UsageError(
            f"there is no array for {', '.join(missing)}; to change some, give {{**model.parameters, name: array}}"
        )
    return {name: _checked(name, array, shapes[name], dtype) for name, array in arrays.items()}


def _checked(name: str, array: Any, shape: tuple[int, ...], dtype: str) -> Any:
    found = to_numpy(array)
    if found.dtype.kind not in "fiub":
        raise DataError(f"{name} must hold numbers, but its dtype is {found.dtype}")
    if found.shape != shape:
        hint = "; transpose it" if found.ndim == len(shape) == 2 and found.T.shape == shape else ""
        raise ShapeError(f"{name} has shape {shape}, but the array for it has {found.shape}{hint}")
    with np.errstate(all="ignore"):
        found = found.astype(dtype)
    if not np.isfinite(found).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(found))[0])
        raise DataError(f"the array for {name} holds {found[at]} at {at}: every value must be a finite {dtype}")
    return found
