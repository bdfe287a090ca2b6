"""Vectors for whole numbers, such as words, and for their positions in a sequence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import check_initializer, check_number, python_number
from anynet.nn.initializers import Normal
from anynet.nn.layer import (
    Array,
    Context,
    Initializer,
    Layer,
    Namespace,
    Parameter,
    Parameters,
    Shape,
    Specs,
    device_of,
)


def check_sequence(layer: object, shape: Shape) -> None:
    """Refuse samples that are not of shape (time, features)."""
    if len(shape) != 2 or 0 in shape:
        raise ShapeError(f"{type(layer).__name__} needs samples of shape (time, features), but each has shape {shape}")


def angles(xp: Namespace, time: int, pairs: int, features: int, like: Array) -> Array:
    """t / 10000^(2 i / features) for each time t and pair i: the first pair turns fast, the next ones ever slower."""
    made = {"dtype": like.dtype, "device": device_of(like)}
    speeds = xp.exp(xp.arange(pairs, **made) * (-2.0 * math.log(10000.0) / features))
    return xp.reshape(xp.arange(time, **made), (time, 1)) * speeds


@dataclass(frozen=True)
class Embedding(Layer):
    """y[..., :] = weight[x], one row of the weight for each index in x; y has one more axis than x.

    A gradient reaches only the rows that x names, and the backward pass adds up those of each row.

    x may hold bytes or floats, which are rounded. Data reach a layer in the model's dtype, and float32 holds every
    whole number up to 2**24: a larger table needs ``dtype="float64"``. Negative indices count from the end. A model
    refuses data with an index beyond either end. What other layers give is not checked: beyond an end, libraries
    raise an error, give NaN, or any row.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Shape of the weight.
    padding_idx : int, optional
        For this index y is 0, and no row is trained.
    weight : initializer

    Raises
    ------
    UsageError
        When a number is not positive and whole, `padding_idx` is no index, or `weight` is not an initializer.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> p = {"weight": np.asarray([[0.0, 1.0], [2.0, 3.0]])}
    >>> Embedding(2, 2).forward(np, p, np.asarray([[1, 0]]), Context())[0]
    array([[[2., 3.],
            [0., 1.]]])
    """

    accepts_uint8 = True

    num_embeddings: int
    embedding_dim: int
    padding_idx: int | None = None
    weight: Initializer = Normal()

    def __post_init__(self) -> None:
        for name in ("num_embeddings", "embedding_dim"):
            check_number(self, name, "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        if self.padding_idx is not None:
            index, count = python_number(self.padding_idx), self.num_embeddings
            if not isinstance(index, int) or not -count <= index < count:
                words = f"None or an index from 0 to {count - 1}"
                raise UsageError(f"Embedding: padding_idx must be {words}, but is {shown(self.padding_idx)}")
            object.__setattr__(self, "padding_idx", index % count)
        check_initializer(self.weight, "Embedding: weight", "Normal()")

    @property
    def indices(self) -> int | None:
        return self.num_embeddings

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return {"weight": Parameter((self.num_embeddings, self.embedding_dim), self.weight)}, (
            *shape,
            self.embedding_dim,
        )

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        indices = xp.astype(xp.round(x) if xp.isdtype(x.dtype, "real floating") else x, xp.int32)
        indices = xp.where(indices < 0, indices + self.num_embeddings, indices)
        y = xp.reshape(xp.take(p["weight"], xp.reshape(indices, (-1,)), axis=0), (*x.shape, self.embedding_dim))
        if self.padding_idx is None:
            return y
        return xp.where(xp.expand_dims(indices, axis=-1) == self.padding_idx, 0.0, y)


@dataclass(frozen=True)
class SinusoidalPositions(Layer):
    """y = x plus sines (even features) and cosines (odd ones) of t / 10000^(2i / features) (Vaswani et al. 2017).

    x has shape (batch, time, features), of any length; t is the time, and i counts pairs of features. There is nothing
    to train.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> SinusoidalPositions().forward(np, {}, np.zeros((1, 2, 2)), Context())[0].round(3)
    array([[[0.   , 1.   ],
            [0.841, 0.54 ]]])
    """

    trainable = False

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        return {}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        _, time, features = x.shape
        turn = angles(xp, time, -(-features // 2), features, x)
        both = xp.reshape(xp.stack([xp.sin(turn), xp.cos(turn)], axis=-1), (time, -1))
        return x + both[:, :features]


@dataclass(frozen=True)
class LearnedPositions(Layer):
    """y = x + weight, with one vector for each time (Gehring et al. 2017); sequences have the length it was built for.

    Parameters
    ----------
    weight : initializer
        `weight` has shape (time, features). Weight decay does not apply to it.

    >>> LearnedPositions().parameters((5, 8))[0]["weight"].shape
    (5, 8)
    """

    weight: Initializer = Normal(0.02)

    def __post_init__(self) -> None:
        check_initializer(self.weight, "LearnedPositions: weight", "Normal(0.02)")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        return {"weight": Parameter(shape, self.weight, decay=False)}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        return x + p["weight"]
