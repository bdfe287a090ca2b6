"""Optimizers of scikit-learn that differ from those of `anynet.nn`."""

from __future__ import annotations

from dataclasses import dataclass

from anynet.nn import SGD, Adam, Optimizer
from anynet.nn.adaptive import bias_correction
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.optimizers import Slots


@dataclass(frozen=True)
class SklearnSGD(SGD):
    """SGD with v <- momentum * v - lr * g, w <- w + v: gradients in v keep the learning rate of their step.

    With a constant learning rate this is `SGD`, but, as in scikit-learn, a momentum of 1 is allowed.
    """

    def __post_init__(self) -> None:
        Optimizer.__post_init__(self)
        check_number(self, "momentum", "at least 0 and at most 1", lambda momentum: 0 <= momentum <= 1)

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
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
class SklearnAdam(Adam):
    """Adam in the short form of its paper's section 2: w <- w - lr_t * m / (sqrt(s) + eps), eps not corrected."""

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        slots = self._averaged(gradient, slots)
        correction1, correction2 = (bias_correction(xp, beta, slots["step"]) for beta in self.betas)
        root = xp.sqrt(slots["square"])
        root += self.eps
        change = slots["mean"] / root
        change *= learning_rate * xp.sqrt(correction2) / correction1
        block -= change
        return block, slots
