"""Pooling of signals and images, channels last, and its reverse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, ClassVar

from anynet.errors import ShapeError, UsageError
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, Specs
from anynet.nn.masking import mask_for
from anynet.nn.windows import check_axes, check_lengths, counts, padded, taps, untapped


@dataclass(frozen=True)
class _Pooling(Layer):
    """Pools one axis after the other; backward takes them the other way round, which is faster than all at once."""

    trainable = False
    axes: ClassVar[int]
    _border: ClassVar[float] = 0.0
    kernel_size: Any
    stride: Any = None
    padding: Any = 0

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            check_lengths(self, name, self.axes, least)
        if any(2 * width > k for width, k in zip(self.padding, self.kernel_size, strict=True)):
            sizes = f"half of kernel_size {self.kernel_size}, but is {self.padding}"
            raise UsageError(f"{type(self).__name__}: padding must be at most {sizes}")

    @property
    def _widths(self) -> list[tuple[int, int]]:
        return [(width, width) for width in self.padding]

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_axes(self, shape)
        return {}, (*counts(self, shape, self._widths, (1,) * self.axes), shape[-1])

    def _taps(self, x: Array, axis: int) -> list[Array]:
        kernel, stride = self.kernel_size[axis - 1], self.stride[axis - 1]
        return taps(x, axis, kernel, stride, 1, (x.shape[axis] - kernel) // stride + 1)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        levels = [padded(xp, x, self._widths, self._border)]
        for axis in range(self.axes, 0, -1):
            levels.append(self._pooled(xp, self._taps(levels[-1], axis)))
        return levels[-1], levels

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        for axis in range(1, self.axes + 1):
            x, y = saved[-axis - 1], saved[-axis]
            parts = self._shares(xp, self._taps(x, axis), y, dy)
            dy = untapped(xp, parts, axis, self.stride[axis - 1], 1, x.shape[axis])
        return padded(xp, dy, [(-width, -width) for width in self.padding]), {}

    def _pooled(self, xp: Namespace, parts: Sequence[Array]) -> Array:
        """One number from those of each window."""
        raise NotImplementedError

    def _shares(self, xp: Namespace, parts: Sequence[Array], y: Array, dy: Array) -> list[Array]:
        """The gradient of each of the parts."""
        raise NotImplementedError


class _MaxPooling(_Pooling):
    _border = -math.inf

    def _pooled(self, xp: Namespace, parts: Sequence[Array]) -> Array:
        return reduce(xp.maximum, parts)

    def _shares(self, xp: Namespace, parts: Sequence[Array], y: Array, dy: Array) -> list[Array]:
        shares = []
        for part in parts[:-1]:
            shares.append(dy * xp.astype(part == y, dy.dtype))
            # The first maximum takes it all.
            dy = dy - shares[-1]
        return [*shares, dy]


@dataclass(frozen=True)
class MaxPool2d(_MaxPooling):
    """The largest number of each window, in each channel by itself; x has shape (batch, height, width, channels).

    Backward: of equal maxima the first in row-major order takes the gradient, as in PyTorch.

    Parameters
    ----------
    kernel_size, stride : int or two ints
        If `stride` is None, it is `kernel_size`: the windows lie side by side.
    padding : int or two ints
        Numbers of -inf at either end of each axis; at most half of `kernel_size`.

    Raises
    ------
    UsageError
        When one of them is not what it should be.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> x = np.arange(16.0).reshape(1, 4, 4, 1)
    >>> MaxPool2d(2).forward(np, {}, x, Context())[0][0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    axes = 2


@dataclass(frozen=True)
class MaxPool1d(_MaxPooling):
    """`MaxPool2d` along the one axis of signals: x has shape (batch, length, channels).

    >>> MaxPool1d(2).parameters((100, 4))[1]
    (50, 4)
    """

    axes = 1


class _AvgPooling(_Pooling):
    def _pooled(self, xp: Namespace, parts: Sequence[Array]) -> Array:
        return reduce(add, parts) / len(parts)

    def _shares(self, xp: Namespace, parts: Sequence[Array], y: Array, dy: Array) -> list[Array]:
        return [dy / len(parts)] * len(parts)


@dataclass(frozen=True)
class AvgPool2d(_AvgPooling):
    """The mean of each window, in each channel by itself; the zeros of the padding count, as is PyTorch's default.

    The parameters are those of `MaxPool2d`.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> AvgPool2d(2).forward(np, {}, np.arange(4.0).reshape(1, 2, 2, 1), Context())[0]
    array([[[[1.5]]]])
    """

    axes = 2


@dataclass(frozen=True)
class AvgPool1d(_AvgPooling):
    """`AvgPool2d` along the one axis of signals: x has shape (batch, length, channels).

    >>> AvgPool1d(3, stride=1, padding=1).parameters((100, 4))[1]
    (100, 4)
    """

    axes = 1


@dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean of each channel: x of shape (batch, ..., channels) becomes y of shape (batch, channels).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> GlobalAvgPool().forward(np, {}, np.arange(4.0).reshape(1, 2, 2, 1), Context())[0]
    array([[1.5]])
    """

    trainable = False

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if len(shape) < 2 or 0 in shape[:-1]:
            raise ShapeError(f"GlobalAvgPool needs samples of shape (..., channels), but each has shape {shape}")
        return {}, shape[-1:]

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        mask = mask_for(self, xp, x, ctx, (*x.shape[:2], 1)) if x.ndim == 3 else None
        if mask is None:
            return xp.sum(x, axis=tuple(range(1, x.ndim - 1))) / math.prod(x.shape[1:-1])
        count = xp.sum(xp.astype(mask, x.dtype), axis=1)
        return xp.sum(xp.where(mask, x, 0.0), axis=1) / xp.maximum(count, 1.0)


@dataclass(frozen=True)
class Upsample(Layer):
    """Each number `scale_factor` times along each axis between the batch and the channels: the nearest neighbour.

    Parameters
    ----------
    scale_factor : int or ints
        One for every axis, or one for each.

    Raises
    ------
    UsageError
        When it is not of positive whole numbers.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Upsample((1, 2)).forward(np, {}, np.arange(2.0).reshape(1, 1, 2, 1), Context())[0].ravel()
    array([0., 0., 1., 1.])
    """

    trainable = False
    scale_factor: Any

    def __post_init__(self) -> None:
        several = isinstance(self.scale_factor, (list, tuple)) and self.scale_factor
        check_lengths(self, "scale_factor", len(self.scale_factor) if several else 1, least=1)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if len(self.scale_factor) not in {1, len(shape) - 1}:
            factors = f"Upsample has scale_factor={self.scale_factor}"
            raise ShapeError(f"{factors}, one for each axis before the channels, but each sample has shape {shape}")
        return {}, (*(n * k for n, k in zip(shape, self._factors(len(shape) - 1), strict=False)), *shape[-1:])

    def _factors(self, axes: int) -> Shape:
        return self.scale_factor * axes if len(self.scale_factor) == 1 else self.scale_factor  # type: ignore[no-any-return]

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        for axis, factor in enumerate(self._factors(x.ndim - 2), 1):
            x = xp.repeat(x, factor, axis=axis)
        return x
