"""Layers between raw data and the first Linear: scaling, new shapes, and any function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn import derived
from anynet.nn.checks import check_shape
from anynet.nn.initializers import Values
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameter, Parameters, Shape, Specs


@dataclass(frozen=True)
class Rescale(Layer):
    """y = (x - shift) * scale, so that a saved network takes the raw numbers it was trained on.

    Parameters
    ----------
    scale, shift : float or sequence of float
        One number for all inputs, or one for each index of the last axis. They are buffers: never trained.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> p = {"scale": np.asarray(1 / 255)}
    >>> Rescale(1 / 255).forward(np, p, np.asarray([[0.0, 51.0, 255.0]]), Context())[0]
    array([[0. , 0.2, 1. ]])
    """

    trainable = False
    accepts_uint8 = True
    scale: Any = 1.0
    shift: Any = 0.0

    def __post_init__(self) -> None:
        for name in ("scale", "shift"):
            object.__setattr__(self, name, Values(getattr(self, name)).values)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs = {"scale": self._buffer("scale", self.scale, shape)}
        if self.shift != 0.0:
            specs["shift"] = self._buffer("shift", self.shift, shape)
        return specs, shape

    def _buffer(self, name: str, values: Any, shape: Shape) -> Parameter:
        if not isinstance(values, tuple):
            return Parameter((), Values(values), trainable=False)
        if shape[-1:] != (len(values),):
            raise ShapeError(f"Rescale has {len(values)} numbers as {name}, but each sample has shape {shape}")
        return Parameter((len(values),), Values(values), trainable=False)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        # astype copies, so y is ours to change.
        y = xp.astype(x, p["scale"].dtype)
        if "shift" in p:
            y -= p["shift"]
        y *= p["scale"]
        return y, p["scale"]

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy *= saved
        return dy, {}


@dataclass(frozen=True)
class Flatten(Layer):
    """Each sample as one row: x of shape (batch, a, b, ...) becomes y of shape (batch, a * b * ...).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Flatten().forward(np, {}, np.zeros((5, 2, 3)), Context())[0].shape
    (5, 6)
    """

    trainable = False

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return {}, (math.prod(shape),)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        return xp.reshape(x, (x.shape[0], math.prod(x.shape[1:]))), x.shape

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        return xp.reshape(dy, saved), {}


@dataclass(frozen=True)
class Reshape(Layer):
    """Each sample in another shape: x of shape (batch, ...) becomes y of shape (batch, *shape).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Reshape((3, 2)).forward(np, {}, np.zeros((5, 6)), Context())[0].shape
    (5, 3, 2)
    """

    trainable = False
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape))

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if math.prod(shape) != math.prod(self.shape):
            raise ShapeError(f"Reshape cannot make samples of shape {self.shape} of samples of shape {shape}")
        return {}, self.shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return xp.reshape(x, (x.shape[0], *self.shape))


@dataclass(frozen=True)
class Lambda(Layer):
    """y = function(xp, x), where xp has the functions of the Array API; the gradient is derived.

    Files hold no code, so a model with this layer cannot be saved: for that, write a class derived from Layer.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Lambda(lambda xp, x: xp.sin(x)).forward(np, {}, np.zeros((1, 2)), Context())[0]
    array([[0., 0.]])
    """

    trainable = False
    function: Callable[[Namespace, Array], Array]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(f"Lambda takes a function, called as function(xp, x), but got {shown(self.function)}")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        found = derived.output_shape(self.function, (2, *shape))
        if found[:1] != (2,):
            raise ShapeError(f"the function of Lambda makes {found} of x of shape {(2, *shape)}: keep the batch axis")
        return {}, found[1:]

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return self.function(xp, x)
