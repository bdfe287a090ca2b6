"""Layers that normalize their inputs to mean 0 and variance 1, and then apply a learned scale and shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from anynet.errors import ShapeError
from anynet.nn.checks import check_number
from anynet.nn.initializers import Ones, Zeros
from anynet.nn.layer import (
    Array,
    Context,
    Layer,
    Namespace,
    Parameter,
    Parameters,
    Shape,
    Specs,
    rows_of,
)


def _specs(layer: object, shape: Shape) -> dict[str, Parameter]:
    if not shape:
        raise ShapeError(f"{type(layer).__name__} needs samples with at least one axis, but each is a single number")
    features = shape[-1:]
    return {
        "weight": Parameter(features, Ones(), decay=False),
        "bias": Parameter(features, Zeros(), decay=False),
    }


@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var over the last axis alone (Ba et al. 2016).

    Parameters
    ----------
    eps : float
        Keeps the divisor from 0.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> p = {"weight": np.ones(2), "bias": np.zeros(2)}
    >>> LayerNorm().forward(np, p, np.asarray([[1.0, 3.0], [0.0, 10.0]]), Context())[0].round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return _specs(self, shape), shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        count = max(x.shape[-1], 1)
        centred = x - xp.sum(x, axis=-1, keepdims=True) / count
        inverse = 1.0 / xp.sqrt(xp.sum(centred * centred, axis=-1, keepdims=True) / count + self.eps)
        centred *= inverse
        return centred * p["weight"] + p["bias"], (centred, inverse, p["weight"])

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        normal, inverse, weight = saved
        gradients = _of_weight_and_bias(xp, normal, dy)
        if not need_dx:
            return None, gradients
        count = max(dy.shape[-1], 1)
        dy *= weight
        along = xp.sum(dy * normal, axis=-1, keepdims=True) / count
        dx = dy - xp.sum(dy, axis=-1, keepdims=True) / count
        dx -= normal * along
        dx *= inverse
        return dx, gradients


@dataclass(frozen=True)
class RMSNorm(Layer):
    """y = x / sqrt(mean of x^2 + eps) * weight, the mean over the last axis alone (Zhang and Sennrich 2019).

    Parameters
    ----------
    eps : float
        Keeps the divisor from 0.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> RMSNorm().forward(np, {"weight": np.ones(2)}, np.asarray([[1.0, 7.0]]), Context())[0].round(3)
    array([[0.2, 1.4]])
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return {"weight": _specs(self, shape)["weight"]}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        mean = xp.sum(x * x, axis=-1, keepdims=True) / max(x.shape[-1], 1)
        return x / xp.sqrt(mean + self.eps) * p["weight"]


@dataclass(frozen=True)
class GroupNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, over each group of channels of a sample (Wu and He 2018).

    Channels are along the last axis; mean and variance are over the channels of a group and all axes before them.

    Parameters
    ----------
    num_groups : int
        So many groups of as many channels each.
    eps : float
        Keeps the divisor from 0.

    Raises
    ------
    UsageError
        When `num_groups` is not a positive whole number.
    ShapeError
        When it does not divide the channels.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> p = {"weight": np.ones(4), "bias": np.zeros(4)}
    >>> GroupNorm(2).forward(np, p, np.asarray([[1.0, 3.0, 0.0, 10.0]]), Context())[0].round(3)
    array([[-1.,  1., -1.,  1.]])
    """

    num_groups: int
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_number(self, "num_groups", "a whole number, 1 or more", lambda count: count >= 1, whole=True)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs = _specs(self, shape)
        if shape[-1] % self.num_groups:
            raise ShapeError(f"GroupNorm has num_groups={self.num_groups}, which do not divide {shape[-1]} channels")
        return specs, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        count, channels = max(math.prod(x.shape[1:]) // self.num_groups, 1), x.shape[-1]
        positions = math.prod(x.shape[1:-1])
        groups = xp.reshape(x, (x.shape[0], positions, self.num_groups, channels // self.num_groups))
        centred = groups - xp.sum(groups, axis=(1, 3), keepdims=True) / count
        variance = xp.sum(centred * centred, axis=(1, 3), keepdims=True) / count
        return xp.reshape(centred / xp.sqrt(variance + self.eps), x.shape) * p["weight"] + p["bias"]


@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, each feature over the batch (Ioffe and Szegedy 2015).

    Features are along the last axis. In training, mean and variance are those of the batch. In evaluation, and for a
    batch of only one row, they are the running ones. Each training step updates these with the batch's mean and
    unbiased variance: running <- (1 - momentum) * running + momentum * new.

    Parameters
    ----------
    momentum : float
        The weight of the newest batch in the running statistics, above 0 and at most 1.
    eps : float
        Keeps the divisor from 0.

    >>> import numpy as np
    >>> from anynet.nn import Context
    >>> p = {"weight": np.ones(1), "bias": np.zeros(1), "running_mean": np.zeros(1), "running_var": np.ones(1)}
    >>> BatchNorm().forward(np, p, np.asarray([[1.0], [3.0]]), Context(training=True))[0].round(3)
    array([[-1.],
           [ 1.]])
    """

    momentum: float = 0.1
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_number(self, "momentum", "above 0 and at most 1", lambda momentum: 0 < momentum <= 1)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        running = {
            "running_mean": Parameter(shape[-1:], Zeros(), trainable=False),
            "running_var": Parameter(shape[-1:], Ones(), trainable=False),
        }
        return {**_specs(self, shape), **running}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        mean, variance = p["running_mean"], p["running_var"]
        rows = rows_of(xp, x)
        count = rows.shape[0] * ctx.ranks
        # One row has no variance.
        of_batch = ctx.training and count > 1
        if of_batch:
            (total,) = ctx.total(xp, xp.sum(rows, axis=0))
            mean = total / count
            centred = x - mean
            (total,) = ctx.total(xp, xp.sum(rows_of(xp, centred * centred), axis=0))
            variance = total / count
        else:
            centred = x - mean
        inverse = 1.0 / xp.sqrt(variance + self.eps)
        centred *= inverse
        batch = ctx if of_batch else None
        return centred * p["weight"] + p["bias"], (centred, inverse, p["weight"], mean, variance, batch)

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        normal, inverse, weight, _, _, batch = saved
        gradients = _of_weight_and_bias(xp, normal, dy)
        if not need_dx:
            return None, gradients
        if batch:
            count = rows_of(xp, dy).shape[0] * batch.ranks
            total_of_bias, total_of_weight = batch.total(xp, gradients["bias"], gradients["weight"])
            dy -= total_of_bias / count
            dy -= normal * (total_of_weight / count)
        dy *= weight * inverse
        return dy, gradients

    def update_buffers(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        """The running statistics after a training step."""
        normal, _, _, mean, variance, batch = saved
        if not batch:
            return {"running_mean": mean, "running_var": variance}
        count = rows_of(xp, normal).shape[0] * batch.ranks
        unbiased = variance * (count / (count - 1))
        new = {"running_mean": mean, "running_var": unbiased}
        return {name: (1.0 - self.momentum) * p[name] + self.momentum * new[name] for name in new}


def _of_weight_and_bias(xp: Namespace, normal: Array, dy: Array) -> dict[str, Array]:
    return {"weight": xp.sum(rows_of(xp, dy * normal), axis=0), "bias": xp.sum(rows_of(xp, dy), axis=0)}
