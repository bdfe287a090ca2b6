"""Dropout, and the random bits it draws inside a step: the same on every array library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, device_of

_GOLDEN_RATIO = 0x9E3779B1


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each number becomes 0 with probability `p`, or is divided by 1 - p (Srivastava et al. 2014).

    The model's seed, the number of the step and the position of the layer decide which numbers become 0.

    Raises
    ------
    UsageError
        When `p` is not at least 0 and below 1.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Dropout(0.5).forward(np, {}, np.ones(8), Context(training=True))[0]
    array([0., 2., 2., 2., 2., 2., 0., 0.])
    >>> Dropout(0.5).forward(np, {}, np.ones(8), Context())[0]
    array([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    stochastic = True
    p: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, "p", "at least 0 and below 1", lambda p: 0 <= p < 1)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        if not (ctx.training and self.p):
            return x, None
        kept = random_bits(xp, x, ctx) >= int(self.p * 2**31)
        factor = xp.astype(kept, x.dtype) * (1 / (1 - self.p))
        return x * factor, factor

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        if saved is not None:
            dy *= saved
        return dy, {}


def random_bits(xp: Namespace, like: Array, ctx: Context, shape: Shape | None = None) -> Array:
    """31 random bits for each number of an array, as int32 of its shape, or of another `shape` with as many rows.

    The bits are a hash of the number's position in the whole batch, the step and the context's seed: `lowbias32` of
    C. Wellons, "Prospecting for hash functions" (2018). It needs only arithmetic modulo 2^32, which every library has.
    """
    shape = like.shape if shape is None else shape
    width = math.prod(shape[1:])
    count = shape[0] * width
    bits = xp.arange(count, dtype=xp.int32, device=device_of(like))
    first, seed = ctx.first_row * width, ctx.seed * _GOLDEN_RATIO
    # Inside JAX's shard_map, the first row is an array.
    bits = _hashed(bits + (_signed(first + seed) if isinstance(first, int) else first + _signed(seed)))
    if ctx.step is not None:
        bits = _hashed(bits + xp.reshape(xp.astype(ctx.step, xp.int32), (1,)) * _signed(_GOLDEN_RATIO))
    return xp.reshape(bits & 0x7FFFFFFF, shape)


def _hashed(bits: Array) -> Array:
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * _signed(0x7FEB352D)
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    return bits ^ ((bits >> 16) & 0xFFFF)


def _signed(number: int) -> int:
    """The int32 that has the lowest 32 bits of a number."""
    return (number + 2**31) % 2**32 - 2**31
