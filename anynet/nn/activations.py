"""Activation functions of each number, and softmax of each row; backward computes derivatives from saved outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, Specs


def sigmoid(xp: Namespace, x: Array) -> Array:
    """1 / (1 + exp(-x)), which never overflows because it only computes exp(-|x|).

    >>> import numpy as np
    >>> sigmoid(np, np.asarray([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, 1.0, small) / (1.0 + small)


def softmax(xp: Namespace, x: Array) -> Array:
    """exp(x) / sum of exp(x) over the last axis; it never overflows because the largest x is subtracted first.

    >>> import numpy as np
    >>> softmax(np, np.asarray([1e4, 1e4]))
    array([0.5, 0.5])
    """
    y = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    y /= xp.sum(y, axis=-1, keepdims=True)
    return y


@dataclass(frozen=True)
class ReLU(Layer):
    """y = max(x, 0). A neuron whose y is 0 for every sample gets no gradient: it is dead.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> ReLU().forward(np, {}, np.asarray([-1.0, 2.0]), Context())[0]
    array([0., 2.])
    """

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = xp.maximum(x, 0.0)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy *= xp.astype(saved > 0, dy.dtype)
        return dy, {}


@dataclass(frozen=True)
class LeakyReLU(Layer):
    """y = x where x > 0, else `negative_slope` * x, so that no neuron dies (Maas et al. 2013).

    Raises
    ------
    UsageError
        When `negative_slope` is negative, since backward takes the sign of x from y.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> LeakyReLU(0.1).forward(np, {}, np.asarray([-1.0, 2.0]), Context())[0]
    array([-0.1,  2. ])
    """

    negative_slope: float = 0.01

    def __post_init__(self) -> None:
        check_number(self, "negative_slope", "0 or more", lambda slope: slope >= 0)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = xp.where(x > 0, x, self.negative_slope * x)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        return xp.where(saved > 0, dy, self.negative_slope * dy), {}


@dataclass(frozen=True)
class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)), with dx = dy y (1 - y).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Sigmoid().forward(np, {}, np.asarray([-1e4, 0.0]), Context())[0]
    array([0. , 0.5])
    """

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = sigmoid(xp, x)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy *= saved
        dy *= 1.0 - saved
        return dy, {}


@dataclass(frozen=True)
class Tanh(Layer):
    """y = tanh(x), with dx = dy (1 - y^2).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Tanh().forward(np, {}, np.asarray([-1e4, 0.0]), Context())[0]
    array([-1.,  0.])
    """

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = xp.tanh(x)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy *= 1.0 - saved * saved
        return dy, {}


@dataclass(frozen=True)
class Softmax(Layer):
    """y = exp(x) / sum of exp(x) over the last axis, with dx = y (dy - sum of dy y).

    Leave it out when you train a classifier: `CrossEntropyLoss` takes logits, and is exact where softmax saturates.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Softmax().forward(np, {}, np.asarray([[0.0, 0.0]]), Context())[0]
    array([[0.5, 0.5]])
    """

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        if not shape:
            raise ShapeError("Softmax needs samples with at least one axis, but each sample is a single number")
        return {}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = softmax(xp, x)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy -= xp.sum(dy * saved, axis=-1, keepdims=True)
        dy *= saved
        return dy, {}
