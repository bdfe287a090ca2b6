"""Losses of scikit-learn that differ from those of `anynet.nn`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from anynet.nn import BCEWithLogitsLoss, CrossEntropyLoss
from anynet.nn.layer import Array, Namespace
from anynet.nn.losses import TargetKind, binary_cross_entropy_with_logits, cross_entropy


@dataclass(frozen=True)
class SoftmaxLogLoss(CrossEntropyLoss):
    """Softmax cross-entropy from logits; its value has the same upper bound as in scikit-learn."""

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        return cross_entropy(xp, prediction, target, weight, _largest(xp, prediction))


@dataclass(frozen=True)
class LogLoss(BCEWithLogitsLoss):
    """Binary cross-entropy from logits, summed over outputs; its value is bounded as in scikit-learn."""

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        share = weight * float(prediction.shape[-1])
        return binary_cross_entropy_with_logits(xp, prediction, target, share, _largest(xp, prediction))


@dataclass(frozen=True)
class PoissonLoss:
    """Half the Poisson deviance of a rate exp(z): the mean of t log t - t - t z + exp(z), summed over the outputs.

    >>> import numpy as np
    >>> value, gradient = PoissonLoss()(np, np.asarray([[0.0]]), np.asarray([[1.0]]), np.asarray([1.0]))
    >>> float(value), gradient
    (0.0, array([[0.]]))
    """

    target_kind: ClassVar[TargetKind] = "value"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        rate = xp.exp(prediction)
        share = xp.reshape(weight, (-1, 1))
        # t log t is 0 for t = 0.
        entropy = target * xp.log(xp.where(target > 0, target, 1.0))
        return xp.sum(share * (entropy - target - target * prediction + rate)), share * (rate - target)


def _largest(xp: Namespace, prediction: Array) -> float:
    """-log(eps) of the dtype: scikit-learn clips probabilities at eps in the value, but not in the gradient."""
    return -math.log(xp.finfo(prediction.dtype).eps)
