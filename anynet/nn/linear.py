"""The affine map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.checks import check_initializer, check_number, python_number
from anynet.nn.initializers import HeNormal, Zeros
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
    rows_of,
)


@dataclass(frozen=True)
class Linear(Layer):
    """y = x W + b over the last axis, x of shape (batch, ..., inputs) and y of shape (batch, ..., out_features).

    Backward: dx = dy W^T, dW = x^T dy, db = sum of dy over all but the last axis.

    Parameters
    ----------
    out_features : int
        Length of the last axis of y; that of x is inferred.
    weight, bias : initializers
        `weight` has shape (inputs, out_features), `bias` (out_features,). Weight decay does not apply to the bias.

    Raises
    ------
    UsageError
        When `out_features` is not a positive whole number, or `weight` or `bias` is not an initializer.

    >>> import numpy as np
    >>> from anynet.nn import Context, Values
    >>> layer = Linear(1, weight=Values([[2.0], [3.0]]), bias=Values([1.0]))
    >>> p = {"weight": np.asarray([[2.0], [3.0]]), "bias": np.asarray([1.0])}
    >>> y, saved = layer.forward(np, p, np.asarray([[10.0, 100.0]]), Context())
    >>> y
    array([[321.]])
    """

    out_features: int
    weight: Initializer = HeNormal()
    bias: Initializer = Zeros()

    def __post_init__(self) -> None:
        check_number(self, "out_features", "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        if python_number(self.weight) is not None:
            outputs = shown(self.weight)
            raise UsageError(f"Linear takes the number of outputs alone, as in Linear({outputs}): inputs are inferred")
        check_initializer(self.weight, "Linear: weight", "HeNormal()")
        check_initializer(self.bias, "Linear: bias", "Zeros() (there is always a bias)")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if not shape:
            raise ShapeError("Linear needs samples with at least one axis, but each sample is a single number")
        specs = {
            "weight": Parameter((shape[-1], self.out_features), self.weight),
            "bias": Parameter((self.out_features,), self.bias, decay=False),
        }
        return specs, (*shape[:-1], self.out_features)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = xp.matmul(x, p["weight"])
        y += p["bias"]
        return y, x

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        x, rows = rows_of(xp, saved), rows_of(xp, dy)
        gradients = {"weight": xp.matmul(xp.matrix_transpose(x), rows), "bias": xp.sum(rows, axis=0)}
        dx = xp.matmul(dy, xp.matrix_transpose(p["weight"])) if need_dx else None
        return dx, gradients
