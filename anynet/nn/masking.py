"""Sequences of different lengths in one batch: which of their times are padding, and count for nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from anynet.errors import ShapeError
from anynet.nn.checks import check_number
from anynet.nn.containers import Sequential
from anynet.nn.layer import Array, Context, Layer, Namespace, Shape, Specs


@dataclass(frozen=True, init=False)
class Masking(Sequential):
    """A Sequential for padded sequences: where all features of x equal `mask_value`, layers in it skip that time.

    x has shape (batch, time, ...), or (batch, time) if the first layer is an Embedding. Attention does not look at
    masked times, GRU and LSTM keep their state, and GlobalAvgPool leaves them out. Other layers compute with them as
    with any time; those before must keep the times, as Linear does, and Conv1d with a stride does not. In PyTorch this
    takes `key_padding_mask` and `pack_padded_sequence`.

    Parameters
    ----------
    *layers : Layer
    mask_value : float
        Such as the `padding_idx` of the Embedding.

    Raises
    ------
    UsageError
        When one of the layers is not a layer, or `mask_value` is not a number.

    >>> import numpy as np
    >>> from anynet.nn import GlobalAvgPool
    >>> x = np.asarray([[[1.0], [3.0], [0.0]], [[4.0], [5.0], [6.0]]])
    >>> Masking(GlobalAvgPool()).forward(np, {"0": {}}, x, Context())[0]
    array([[2.],
           [5.]])
    """

    mask_value: float = 0

    def __init__(self, *layers: Layer, mask_value: float = 0) -> None:
        super().__init__(*layers)
        object.__setattr__(self, "mask_value", mask_value)
        check_number(self, "mask_value", "finite", lambda value: True)

    def having(self, *layers: Layer) -> Masking:
        return Masking(*layers, mask_value=self.mask_value)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if not shape:
            raise ShapeError("Masking needs samples of shape (time, ...), but each sample is a single number")
        return super().parameters(shape)

    def within(self, xp: Namespace, x: Array, ctx: Context) -> Context:
        if self.indices is not None and xp.isdtype(x.dtype, "real floating"):
            x = xp.round(x)
        # Of a value beyond bytes, or between two, libraries make a byte, or an error.
        x = xp.astype(x, xp.float32) if x.dtype == xp.uint8 else x
        there = x != self.mask_value
        return replace(ctx, mask=xp.any(there, axis=tuple(range(2, x.ndim))) if x.ndim > 2 else there)


def mask_for(layer: object, xp: Namespace, x: Array, ctx: Context, shape: Shape) -> Array | None:
    """The context's mask for x of shape (batch, time, features), in another shape; None if there is none.

    Raises
    ------
    ShapeError
        When it is of other times.
    """
    if ctx.mask is None:
        return None
    if ctx.mask.shape != x.shape[:2]:
        times = f"{type(layer).__name__} gets {x.shape[1]} times in a Masking of {ctx.mask.shape[1]}"
        raise ShapeError(f"{times}: layers before it must keep the times, or be outside")
    return xp.reshape(ctx.mask, shape)
