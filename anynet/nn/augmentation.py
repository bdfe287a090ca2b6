"""Layers that change images at random in training, so that a network sees each of them in many forms.

They take images of shape (batch, height, width, channels). The model's seed, the number of the step, the position of
the layer and that of the image in the whole batch decide what happens to it: on every array library the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError
from anynet.nn.checks import check_number
from anynet.nn.dropout import random_bits
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, Specs, device_of
from anynet.nn.windows import check_axes, check_lengths, padded


class _Augmentation(Layer):
    stochastic = True
    trainable = False
    axes = 2

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_axes(self, shape)
        return {}, shape


def _draws(xp: Namespace, x: Array, ctx: Context, count: int) -> list[Array]:
    """So many times 31 random bits for each image, of shape (batch, 1, 1, 1)."""
    bits = random_bits(xp, x, ctx, (x.shape[0], count))
    return [xp.reshape(bits[:, i], (x.shape[0], 1, 1, 1)) for i in range(count)]


def _places(xp: Namespace, x: Array, axis: int, count: int) -> Array:
    """0, 1, 2, ... along an axis."""
    numbers = xp.arange(count, dtype=xp.int32, device=device_of(x))
    return xp.reshape(numbers, (count, *(1,) * (3 - axis)))


def _happens(bits: Array, p: float) -> Array:
    return bits <= int(p * 2**31) - 1


def _check_p(layer: Layer) -> None:
    check_number(layer, "p", "from 0 to 1", lambda p: 0 <= p <= 1)


def _cropped(xp: Namespace, x: Array, ctx: Context, size: Shape, padding: Shape) -> Array:
    """A window of each image, with zeros around it: any in training, else the middle one."""
    room = [n + 2 * width - length for n, width, length in zip(x.shape[1:], padding, size, strict=False)]
    if not ctx.training:
        return padded(xp, x, [(width - n // 2, width - (n - n // 2)) for width, n in zip(padding, room, strict=True)])
    x = padded(xp, x, [(width, width) for width in padding])
    batch, height, width, channels = x.shape
    top, left = (bits % (n + 1) for bits, n in zip(_draws(xp, x, ctx, 2), room, strict=True))
    images, rows, columns = (_places(xp, x, axis, n) for axis, n in enumerate((batch, *size)))
    places = (images * height + top + rows) * width + left + columns
    pixels = xp.take(xp.reshape(x, (batch * height * width, channels)), xp.reshape(places, (-1,)), axis=0)
    return xp.reshape(pixels, (batch, *size, channels))


@dataclass(frozen=True)
class RandomTranslation(_Augmentation):
    """In training, each image moves by a whole number of pixels up or down, and left or right; zeros come in.

    Parameters
    ----------
    pixels : int or two ints
        The most along both axes, or along the height and the width. From as many in one direction to as many in the
        other, each is as likely. (In Keras it is a share of the image.)

    Raises
    ------
    UsageError
        When `pixels` is not a whole number or two.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> x = np.asarray([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4, 1)
    >>> RandomTranslation((0, 2)).forward(np, {}, x, Context(training=True, seed=5))[0].ravel()
    array([2., 3., 4., 0.])
    """

    pixels: Any

    def __post_init__(self) -> None:
        check_lengths(self, "pixels", 2, least=0)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return _cropped(xp, x, ctx, x.shape[1:3], self.pixels)


@dataclass(frozen=True)
class RandomCrop(_Augmentation):
    """In training, a window of each image at a random place; else the one in the middle, as in Keras.

    Parameters
    ----------
    size : int or two ints
        Height and width of the window.
    padding : int or two ints
        So many zeros are put around the image before, as in torchvision.

    Raises
    ------
    UsageError
        When one of them is not what it should be.
    ShapeError
        When the window is larger than the padded image.

    >>> RandomCrop(24).parameters((28, 28, 1))[1]
    (24, 24, 1)
    """

    size: Any
    padding: Any = 0

    def __post_init__(self) -> None:
        check_lengths(self, "size", 2, least=1)
        check_lengths(self, "padding", 2, least=0)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_axes(self, shape)
        whole = tuple(n + 2 * width for n, width in zip(shape, self.padding, strict=False))
        _check_size(self, whole, "with its padding")
        return {}, (*self.size, shape[-1])

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return _cropped(xp, x, ctx, self.size, self.padding)


@dataclass(frozen=True)
class RandomHorizontalFlip(_Augmentation):
    """In training, each image is mirrored with probability `p`: its left becomes its right.

    Raises
    ------
    UsageError
        When `p` is not from 0 to 1.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> x = np.asarray([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> RandomHorizontalFlip(1.0).forward(np, {}, x, Context(training=True))[0].ravel()
    array([3., 2., 1.])
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        _check_p(self)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        if not ctx.training:
            return x
        (bits,) = _draws(xp, x, ctx, 1)
        return xp.where(_happens(bits, self.p), xp.flip(x, axis=2), x)


@dataclass(frozen=True)
class RandomErasing(_Augmentation):
    """In training, a rectangle at a random place of each image becomes 0 with probability `p` (Zhong et al. 2017).

    Parameters
    ----------
    size : int or two ints
        Its height and width; it lies within the image. (In torchvision, they are random, too.)
    p : float

    Raises
    ------
    UsageError, ShapeError
        When an argument is invalid, or the rectangle is larger than the images.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> y, _ = RandomErasing(2, p=1.0).forward(np, {}, np.ones((1, 3, 3, 1)), Context(training=True))
    >>> float(y.sum())
    5.0
    """

    size: Any
    p: float = 0.5

    def __post_init__(self) -> None:
        check_lengths(self, "size", 2, least=1)
        _check_p(self)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_axes(self, shape)
        _check_size(self, shape[:2])
        return {}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        if not ctx.training:
            return x
        bits, *starts = _draws(xp, x, ctx, 3)
        erased = _happens(bits, self.p)
        for axis, (start, length) in enumerate(zip(starts, self.size, strict=True), 1):
            after = _places(xp, x, axis, x.shape[axis]) - start % (x.shape[axis] - length + 1)
            erased = erased & ((after >= 0) & (after < length))
        return xp.where(erased, 0.0, x)


def _check_size(layer: Any, image: Shape, after: str = "") -> None:
    if any(length > n for length, n in zip(layer.size, image, strict=True)):
        has = f"{type(layer).__name__} has size {layer.size}, but each image {after}".rstrip()
        raise ShapeError(f"{has} has {image}: make it smaller")
