"""Vectors for whole numbers, such as words or categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anynet.errors import UsageError, shown
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
)


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
