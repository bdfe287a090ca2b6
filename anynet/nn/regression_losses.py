"""Losses of regression beside squared errors; each states its value alone, and its gradient is derived."""

from __future__ import annotations

import math
from dataclasses import dataclass

from anynet.errors import ShapeError
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.losses import mean


@dataclass(frozen=True)
class L1Loss:
    """Mean absolute error: the mean of |prediction - target|.

    >>> import numpy as np
    >>> float(L1Loss()(np, np.asarray([[1.5, 0.0]]), np.asarray([[1.0, 2.0]]), np.asarray([1.0])))
    1.25
    """

    target_kind = "value"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        return mean(xp, xp.abs(prediction - target), weight)


@dataclass(frozen=True)
class HuberLoss:
    """The mean of e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = prediction - target (Huber 1964).

    >>> import numpy as np
    >>> float(HuberLoss()(np, np.asarray([[1.0, 0.0]]), np.asarray([[1.5, 4.0]]), np.asarray([1.0])))
    1.8125
    """

    delta: float = 1.0
    target_kind = "value"

    def __post_init__(self) -> None:
        check_number(self, "delta", "above 0 and finite", lambda delta: delta > 0)

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        error = xp.abs(prediction - target)
        least = xp.minimum(error, self.delta)
        return mean(xp, least * (error - 0.5 * least), weight)


@dataclass(frozen=True)
class QuantileLoss:
    """Pinball loss: the mean of max(q e, (q - 1) e), with e = target - prediction (Koenker and Bassett 1978).

    The least loss is at the quantile q of the target: 0.9 predicts what 90 % of the targets are below.

    >>> import numpy as np
    >>> float(QuantileLoss(0.9)(np, np.asarray([[1.0, 1.0]]), np.asarray([[2.0, 0.0]]), np.asarray([1.0])))
    0.5
    """

    quantile: float = 0.5
    target_kind = "value"

    def __post_init__(self) -> None:
        check_number(self, "quantile", "above 0 and below 1", lambda quantile: 0 < quantile < 1)

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        error = target - prediction
        return mean(xp, xp.maximum(self.quantile * error, (self.quantile - 1.0) * error), weight)


@dataclass(frozen=True)
class PoissonNLLLoss:
    """Negative log-likelihood of counts t of mean exp(z), up to what z does not change: the mean of exp(z) - t z.

    The prediction z is the logarithm of the mean, as in PyTorch with ``log_input=True`` and ``full=False``.

    >>> import numpy as np
    >>> float(PoissonNLLLoss()(np, np.asarray([[0.0]]), np.asarray([[3.0]]), np.asarray([1.0])))
    1.0
    """

    target_kind = "value"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        return mean(xp, xp.exp(prediction) - target * prediction, weight)


@dataclass(frozen=True)
class GaussianNLLLoss:
    """Negative log-likelihood of normal numbers t, up to a constant: the mean of (log v + (t - m)^2 / v) / 2.

    The prediction holds the means m and, in as many columns after them, the logarithms of the variances v, so that no
    variance is negative: the network has two outputs for each column of the target (Nix and Weigend 1994). Metrics
    measure the means.

    Parameters
    ----------
    eps : float
        A variance counts as at least that, as in PyTorch.

    >>> import numpy as np
    >>> float(GaussianNLLLoss()(np, np.asarray([[3.0, 0.0]]), np.asarray([[1.0]]), np.asarray([1.0])))
    2.0
    """

    eps: float = 1e-6
    target_kind = "value"

    def __post_init__(self) -> None:
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        means = self.values(xp, prediction)
        logs = xp.maximum(prediction[..., means.shape[-1] :], math.log(self.eps))
        error = means - target
        return mean(xp, 0.5 * (logs + error * error * xp.exp(-logs)), weight)

    def values(self, xp: Namespace, prediction: Array) -> Array:
        outputs = prediction.shape[-1]
        if outputs % 2:
            needs = "GaussianNLLLoss needs two outputs for each value, a mean and the logarithm of a variance"
            raise ShapeError(f"{needs}, but the network has {outputs}")
        return prediction[..., : outputs // 2]
