"""Losses and update rules where scikit-learn's differ from those of `anynet.nn`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from anynet.nn import SGD, Adam, BCEWithLogitsLoss, CrossEntropyLoss
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.losses import TargetKind
from anynet.nn.optimizers import Slots, check_rates


@dataclass(frozen=True)
class RememberedSGD(SGD):
    """v <- momentum * v - lr * g, w <- w + v: a velocity keeps the learning rates it was made with.

    While the learning rate is constant this is `SGD`; but a momentum of 1 is allowed, as scikit-learn allows it.
    """

    def __post_init__(self) -> None:
        check_rates(self)
        check_number(self, "momentum", "at least 0 and at most 1", lambda momentum: 0 <= momentum <= 1)

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array, step: Array
    ) -> tuple[Array, Slots]:
        gradient *= learning_rate
        if not self.momentum:
            block -= gradient
            return block, slots
        velocity = slots["velocity"]
        velocity *= self.momentum
        velocity -= gradient
        if self.nesterov:
            block += self.momentum * velocity
            block -= gradient
        else:
            block += velocity
        return block, {"velocity": velocity}


@dataclass(frozen=True)
class PlainEpsilonAdam(Adam):
    """Adam as its paper's section 2 abbreviates it: w <- w - lr_t * m / (sqrt(s) + eps), eps not corrected."""

    def _epsilon(self, root2: Array) -> float:
        return self.eps


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
