"""Convolutions of signals and images, channels last; each is one matrix product over all windows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from anynet.errors import ShapeError, UsageError
from anynet.nn.checks import check_initializer, check_number
from anynet.nn.initializers import HeNormal, Zeros
from anynet.nn.layer import Array, Context, Initializer, Layer, Namespace, Parameter, Parameters, Shape, Specs
from anynet.nn.windows import check_axes, check_lengths, counts, fold, padded, unfold


@dataclass(frozen=True)
class _Convolution(Layer):
    axes: ClassVar[int]
    out_channels: int
    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    weight: Initializer = HeNormal()
    bias: Initializer = Zeros()

    def __post_init__(self) -> None:
        kind = type(self).__name__
        for name in ("out_channels", "groups"):
            check_number(self, name, "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        if self.out_channels % self.groups:
            raise UsageError(f"{kind}: out_channels, {self.out_channels}, must be a multiple of groups, {self.groups}")
        for name in ("kernel_size", "stride", "dilation"):
            check_lengths(self, name, self.axes, least=1)
        self._check_padding()
        check_initializer(self.weight, f"{kind}: weight", "HeNormal()")
        check_initializer(self.bias, f"{kind}: bias", "Zeros() (there is always a bias)")

    def _check_padding(self) -> None:
        is_text = isinstance(self.padding, str)
        if is_text and self.padding == "valid":
            object.__setattr__(self, "padding", 0)
        if not is_text or self.padding != "same":
            check_lengths(self, "padding", self.axes, least=0, or_else=', "same" or "valid"')
        elif max(self.stride) > 1:
            raise UsageError(f'{type(self).__name__}: padding "same" needs stride 1, but it is {self.stride}')

    def _specs(self, shape: Shape, inputs: int, outputs: int) -> Specs:
        check_axes(self, shape)
        if shape[-1] % self.groups:
            raise ShapeError(
                f"{type(self).__name__} has groups={self.groups}, which do not divide {shape[-1]} channels"
            )
        return {
            "weight": Parameter((*self.kernel_size, inputs, outputs), self.weight),
            "bias": Parameter((self.out_channels,), self.bias, decay=False),
        }

    @property
    def _widths(self) -> list[tuple[int, int]]:
        """The padding before and after each axis."""
        if self.padding == "same":
            totals = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation, strict=True)]
            return [(total // 2, total - total // 2) for total in totals]
        return [(width, width) for width in self.padding]

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs = self._specs(shape, shape[-1] // self.groups if shape else 0, self.out_channels)
        return specs, (*counts(self, shape, self._widths, self.dilation), self.out_channels)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        steps = self.kernel_size, self.stride, self.dilation
        lengths = counts(self, x.shape[1:], self._widths, self.dilation)
        windows = unfold(xp, padded(xp, x, self._widths), *steps, lengths)
        places, groups = math.prod(self.kernel_size), self.groups
        rows = xp.reshape(windows, (-1, places, groups, x.shape[-1] // groups))
        weight = xp.reshape(p["weight"], (places, x.shape[-1] // groups, groups, self.out_channels // groups))
        y = _grouped(xp, rows, xp.permute_dims(weight, (0, 2, 1, 3)))
        return xp.reshape(y + p["bias"], (x.shape[0], *lengths, self.out_channels))


def _grouped(xp: Namespace, rows: Array, weight: Array) -> Array:
    """The product of rows (rows, places, groups, inputs) and weight (places, groups, inputs, outputs), over places and
    inputs, of shape (rows, groups * outputs)."""
    count, (places, groups, inputs, outputs) = rows.shape[0], weight.shape
    if groups == 1:
        flat = xp.reshape(weight, (places * inputs, outputs))
        return xp.matmul(xp.reshape(rows, (count, places * inputs)), flat)
    rows = xp.reshape(xp.permute_dims(rows, (2, 0, 1, 3)), (groups, count, places * inputs))
    weight = xp.reshape(xp.permute_dims(weight, (1, 0, 2, 3)), (groups, places * inputs, outputs))
    y = xp.permute_dims(xp.matmul(rows, weight), (1, 0, 2))
    return xp.reshape(y, (count, groups * outputs))


@dataclass(frozen=True)
class Conv2d(_Convolution):
    """y[i, j] = sum over a, b of x[stride i + dilation a - padding, ...] W[a, b] + bias, over images, channels last.

    x has shape (batch, height, width, channels), y (batch, new height, new width, out_channels).

    Parameters
    ----------
    out_channels : int
        The channels of y; those of x are inferred.
    kernel_size, stride, dilation : int or two ints
    padding : int or two ints, "same" or "valid"
        The zeros at either end of each axis. "same" keeps height and width, and needs stride 1; "valid" is 0.
    groups : int
        So many parts of the channels are convolved apart; as many as there are channels is depthwise convolution.
    weight, bias : initializers
        `weight` has shape (kernel height, kernel width, channels / groups, out_channels); PyTorch's is that with the
        axes (3, 2, 0, 1). `bias` has shape (out_channels,), and no weight decay.

    Raises
    ------
    UsageError
        When one of them is not what it should be.

    >>> Conv2d(8, 3, padding="same").parameters((28, 28, 1))[1]
    (28, 28, 8)
    >>> Conv2d(8, 3, stride=2).parameters((28, 28, 1))[1]
    (13, 13, 8)
    """

    axes = 2


@dataclass(frozen=True)
class Conv1d(_Convolution):
    """`Conv2d` along the one axis of signals: x has shape (batch, length, channels).

    `weight` has shape (kernel length, channels / groups, out_channels); PyTorch's is that with the axes (2, 1, 0).

    >>> Conv1d(8, 3, dilation=2).parameters((100, 4))[1]
    (96, 8)
    """

    axes = 1


@dataclass(frozen=True)
class ConvTranspose2d(_Convolution):
    """The gradient of `Conv2d` as a layer, which enlarges images: each number of x adds its multiple of W to y.

    The new height is stride (height - 1) + dilation (kernel - 1) + 1 - 2 padding + output_padding.

    Parameters
    ----------
    out_channels, kernel_size, stride, padding, dilation, groups
        Those of a `Conv2d` that would turn y into x; `padding` is of numbers alone.
    weight, bias : initializers
        `weight` has shape (kernel height, kernel width, channels, out_channels / groups); PyTorch's is that with the
        axes (2, 3, 0, 1). `bias` has shape (out_channels,), and no weight decay.
    output_padding : int or two ints
        So much more at the end of each axis, below `stride` or `dilation`: which of the sizes that would lead to x.

    Raises
    ------
    UsageError
        When one of them is not what it should be.

    >>> ConvTranspose2d(8, 3, stride=2, padding=1, output_padding=1).parameters((14, 14, 4))[1]
    (28, 28, 8)
    """

    axes = 2
    output_padding: Any = 0

    def _check_padding(self) -> None:
        for name in ("padding", "output_padding"):
            check_lengths(self, name, self.axes, least=0)
        if any(n >= max(s, d) for n, s, d in zip(self.output_padding, self.stride, self.dilation, strict=True)):
            limits = f"stride {self.stride} or dilation {self.dilation}, but is {self.output_padding}"
            raise UsageError(f"ConvTranspose2d: output_padding must be below {limits}")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs = self._specs(shape, shape[-1] if shape else 0, self.out_channels // self.groups)
        ends = zip(self._whole(shape), self.padding, self.output_padding, strict=True)
        lengths = tuple(whole - 2 * width + more for whole, width, more in ends)
        if min(lengths) < 1:
            raise ShapeError(f"ConvTranspose2d with padding {self.padding} leaves nothing of a sample of shape {shape}")
        return specs, (*lengths, self.out_channels)

    def _whole(self, shape: Shape) -> Shape:
        """The lengths of y without any padding."""
        steps = zip(shape, self.kernel_size, self.stride, self.dilation, strict=False)
        return tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in steps)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        places, groups = math.prod(self.kernel_size), self.groups
        inputs, outputs = x.shape[-1] // groups, self.out_channels // groups
        weight = xp.permute_dims(xp.reshape(p["weight"], (places, groups, inputs, outputs)), (1, 2, 0, 3))
        weight = xp.reshape(weight, (1, groups, inputs, places * outputs))
        y = _grouped(xp, xp.reshape(x, (-1, 1, groups, inputs)), weight)
        y = xp.permute_dims(xp.reshape(y, (-1, groups, places, outputs)), (0, 2, 1, 3))
        windows = xp.reshape(y, (*x.shape[:-1], places * self.out_channels))
        y = fold(xp, windows, self.kernel_size, self.stride, self.dilation, self._whole(x.shape[1:]))
        ends = zip(self.padding, self.output_padding, strict=True)
        return padded(xp, y, [(-width, more - width) for width, more in ends]) + p["bias"]
