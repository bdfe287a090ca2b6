"""Activation functions of each number, and softmax of each row; backward computes derivatives from saved outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError
from anynet.nn.checks import check_flag, check_number
from anynet.nn.initializers import Values
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameter, Parameters, Shape, Specs


def sigmoid(xp: Namespace, x: Array) -> Array:
    """1 / (1 + exp(-x)), which never overflows because it only computes exp(-|x|).

    >>> import numpy as np
    >>> sigmoid(np, np.asarray([-1e4, 0.0, 1e4]))
    array([0. , 0.5, 1. ])
    """
    # Written with abs, it would have a derived gradient of 0 at 0.
    small = xp.exp(xp.where(x >= 0, -x, x))
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


def log_softmax(xp: Namespace, x: Array) -> Array:
    """The logarithm of `softmax`."""
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def softplus(xp: Namespace, x: Array) -> Array:
    """log(1 + exp(x)), which never overflows because it only computes exp(-|x|)."""
    return xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))


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
        return {}, _with_axis(self, shape)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        y = softmax(xp, x)
        return y, y

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dy -= xp.sum(dy * saved, axis=-1, keepdims=True)
        dy *= saved
        return dy, {}


@dataclass(frozen=True)
class LogSoftmax(Layer):
    """y = x - log(sum of exp(x)) over the last axis: the logarithm of `Softmax`, finite where that is 0.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> LogSoftmax().forward(np, {}, np.asarray([[1e4, 0.0]]), Context())[0]
    array([[     0., -10000.]])
    """

    trainable = False

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return {}, _with_axis(self, shape)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return log_softmax(xp, x)


@dataclass(frozen=True)
class ELU(Layer):
    """y = x where x > 0, else `alpha` * (exp(x) - 1) (Clevert et al. 2016).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> ELU().forward(np, {}, np.asarray([-1e4, 2.0]), Context())[0]
    array([-1.,  2.])
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "alpha", "a finite number", lambda alpha: True)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return xp.where(x > 0, x, self.alpha * xp.expm1(xp.where(x > 0, 0.0, x)))


@dataclass(frozen=True)
class SiLU(Layer):
    """y = x * sigmoid(x), also called Swish (Ramachandran et al. 2017).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> SiLU().forward(np, {}, np.asarray([-1e4, 0.0, 1e4]), Context())[0]
    array([   -0.,     0., 10000.])
    """

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return x * sigmoid(xp, x)


@dataclass(frozen=True)
class Softplus(Layer):
    """y = log(1 + exp(beta * x)) / beta, a smooth ReLU (Dugas et al. 2001).

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> Softplus().forward(np, {}, np.asarray([-1e4, 0.0]), Context())[0].round(4)
    array([0.    , 0.6931])
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "beta", "above 0 and finite", lambda beta: beta > 0)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return softplus(xp, self.beta * x) / self.beta


@dataclass(frozen=True)
class PReLU(Layer):
    """y = x where x > 0, else `weight` * x, with a slope that is learned, without weight decay (He et al. 2015).

    Parameters
    ----------
    per_channel : bool
        Whether each index of the last axis has a slope of its own, instead of one for all.
    init : float
        What each slope starts from.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> PReLU().forward(np, {"weight": np.asarray([0.25])}, np.asarray([-1.0, 2.0]), Context())[0]
    array([-0.25,  2.  ])
    """

    per_channel: bool = False
    init: float = 0.25

    def __post_init__(self) -> None:
        check_flag(self, "per_channel")
        check_number(self, "init", "a finite number", lambda init: True)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        count = _with_axis(self, shape)[-1] if self.per_channel else 1
        return {"weight": Parameter((count,), Values((self.init,) * count), decay=False)}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Array:
        return xp.where(x > 0, x, p["weight"] * x)


def _with_axis(layer: object, shape: Shape) -> Shape:
    if not shape:
        name = type(layer).__name__
        raise ShapeError(f"{name} needs samples with at least one axis, but each sample is a single number")
    return shape
