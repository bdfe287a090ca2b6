"""What convolution and pooling share: windows that move along the axes between the batch and the channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import python_number
from anynet.nn.layer import Array, Namespace, Shape, device_of


def check_lengths(part: object, name: str, axes: int, least: int, or_else: str = "") -> None:
    """Make a field of a frozen dataclass a tuple of `axes` whole numbers; a single number counts for every axis.

    >>> from anynet.nn import MaxPool2d
    >>> MaxPool2d(3).kernel_size
    (3, 3)
    """
    given = getattr(part, name)
    numbers = [*map(python_number, given if isinstance(given, (list, tuple)) else (given,) * axes)]
    if len(numbers) != axes or not all(isinstance(number, int) and number >= least for number in numbers):
        words = f"a whole number, {least} or more" + (f", or {axes} of them" if axes > 1 else "") + or_else
        raise UsageError(f"{type(part).__name__}: {name} must be {words}, but is {shown(given)}")
    object.__setattr__(part, name, tuple(numbers))


def check_axes(layer: Any, shape: Shape) -> None:
    """Refuse samples that do not have the layer's axes and, after them, the channels."""
    if len(shape) != layer.axes + 1:
        expected = "(height, width, channels)" if layer.axes == 2 else "(length, channels)"
        raise ShapeError(f"{type(layer).__name__} needs samples of shape {expected}, but each has shape {shape}")


def counts(layer: Any, shape: Shape, widths: Sequence[tuple[int, int]], dilation: Sequence[int]) -> Shape:
    """How many windows fit along each axis: floor((length + padding - dilation (kernel - 1) - 1) / stride) + 1.

    It is an error if none does.
    """
    spans = [d * (k - 1) + 1 for k, d in zip(layer.kernel_size, dilation, strict=True)]
    padded = [n + sum(ends) for n, ends in zip(shape, widths, strict=False)]
    if any(span > length for span, length in zip(spans, padded, strict=True)):
        lengths = f"{tuple(spans)}, but a sample of shape {shape} has {tuple(padded)} with its padding"
        raise ShapeError(f"{type(layer).__name__} needs lengths of at least {lengths}: pad more, or pool less before")
    return tuple((n - span) // s + 1 for n, span, s in zip(padded, spans, layer.stride, strict=True))


def along(x: Array, axis: int, part: slice) -> Array:
    """A part of one axis, and all of the others."""
    return x[(*(slice(None),) * axis, part, ...)]


def extended(xp: Namespace, x: Array, axis: int, before: int, after: int, value: float = 0.0) -> Array:
    """x with so many numbers more at the ends of an axis; below 0 with fewer."""
    if min(before, after) < 0:
        x = along(x, axis, slice(max(-before, 0), x.shape[axis] - max(-after, 0)))

    def numbers(count: int) -> list[Array]:
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return [xp.full(shape, value, dtype=x.dtype, device=device_of(x))] if count > 0 else []

    parts = [*numbers(before), x, *numbers(after)]
    return xp.concat(parts, axis=axis) if len(parts) > 1 else x


def padded(xp: Namespace, x: Array, widths: Sequence[tuple[int, int]], value: float = 0.0) -> Array:
    """x with so many numbers before and after each of the axes that windows move along."""
    for axis, (before, after) in enumerate(widths, 1):
        x = extended(xp, x, axis, before, after, value)
    return x


def taps(x: Array, axis: int, kernel: int, stride: int, dilation: int, count: int) -> list[Array]:
    """For each place in a window along an axis, the numbers there, of all windows."""
    starts = range(0, kernel * dilation, dilation)
    return [along(x, axis, slice(start, start + (count - 1) * stride + 1, stride)) for start in starts]


def untapped(xp: Namespace, parts: Sequence[Array], axis: int, stride: int, dilation: int, length: int) -> Array:
    """The adjoint of `taps`: an axis of this length, with the sum of what belongs at each place."""
    most = (len(parts) - 1) * dilation // stride
    phases: dict[int, Any] = {}
    for k, part in enumerate(parts):
        shift, phase = divmod(k * dilation, stride)
        there = extended(xp, part, axis, shift, most - shift)
        phases[phase] = phases[phase] + there if phase in phases else there
    whole = phases[0]
    if stride > 1:
        nothing = xp.zeros_like(whole)
        whole = xp.stack([phases.get(phase, nothing) for phase in range(stride)], axis=axis + 1)
        whole = xp.reshape(whole, (*whole.shape[:axis], whole.shape[axis] * stride, *whole.shape[axis + 2 :]))
    return extended(xp, whole, axis, 0, length - whole.shape[axis])


def unfold(xp: Namespace, x: Array, kernel: Shape, stride: Shape, dilation: Shape, counts: Shape) -> Array:
    """All windows of x, of shape (batch, *counts, numbers of a window): the channels of its first place come first."""
    for axis in range(len(kernel), 0, -1):
        i = axis - 1
        x = xp.concat(taps(x, axis, kernel[i], stride[i], dilation[i], counts[i]), axis=-1)
    return x


def fold(xp: Namespace, rows: Array, kernel: Shape, stride: Shape, dilation: Shape, lengths: Shape) -> Array:
    """The adjoint of `unfold`: the sum of all windows, each where it lies in an array with these lengths."""
    for i, k in enumerate(kernel):
        size = rows.shape[-1] // k
        parts = [rows[..., start : start + size] for start in range(0, k * size, size)]
        rows = untapped(xp, parts, i + 1, stride[i], dilation[i], lengths[i])
    return rows
