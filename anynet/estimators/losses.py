"""Losses where scikit-learn's differ from those of `anynet.nn`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from anynet.nn import BCEWithLogitsLoss, CrossEntropyLoss
from anynet.nn.layer import Array, Namespace
from anynet.nn.losses import TargetKind


class _Bounded:
    """The value that is told of a sample's loss is at most -log of the smallest step from 1, as scikit-learn tells it.

    The gradient is that of the loss without a bound; but when to stop is decided by the value.
    """

    def _bounded(self, xp: Namespace, losses: Array) -> Array:
        return xp.minimum(losses, -math.log(xp.finfo(losses.dtype).eps))


@dataclass(frozen=True)
class SoftmaxLogLoss(_Bounded, CrossEntropyLoss):
    """Softmax cross-entropy from logits."""


@dataclass(frozen=True)
class LogLoss(_Bounded, BCEWithLogitsLoss):
    """Binary cross-entropy from logits, summed over the outputs."""

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        return super().__call__(xp, prediction, target, weight * float(prediction.shape[-1]))


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
        # t log t is 0 where t is.
        entropy = target * xp.log(xp.where(target > 0, target, 1.0))
        return xp.sum(share * (entropy - target - target * prediction + rate)), share * (rate - target)
