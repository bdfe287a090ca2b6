"""Optimizers: how a gradient becomes a step.

An optimizer is written for a block, an array of any shape: all the numbers of a network in one, or one
parameter by itself, or a piece of one. ``init`` makes what it remembers between steps, its slots, each shaped
like the block; ``update`` owns block, gradient and slots, works in place where the library can, and returns
block and slots. It is told the learning rate and the number of the step, which is 1 for the first, as 0-d
arrays of a float and of an integer.
Weight decay is decoupled (Loshchilov and Hutter 2019): before the update, the training step shrinks the
weights by w <- w - lr * weight_decay * w.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from anynet.errors import UsageError, shown
from anynet.nn.checks import check_number, python_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.schedules import Schedule

Slots: TypeAlias = dict[str, Array]


class Optimizer(Protocol):
    """What an optimizer is: a learning rate or a schedule of it, a decoupled weight decay, and a rule for a block."""

    @property
    def lr(self) -> float | Schedule: ...

    @property
    def weight_decay(self) -> float: ...

    def init(self, xp: Namespace, block: Array) -> Slots: ...

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array, step: Array
    ) -> tuple[Array, Slots]: ...


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent: v <- momentum * v + g, then w <- w - lr * v, as PyTorch has it.

    With `nesterov` the step is w <- w - lr * (g + momentum * v) (Sutskever et al. 2013). Without momentum
    there is no v: w <- w - lr * g.

    Raises
    ------
    UsageError
        When a number is negative, momentum is 1 or more, or `nesterov` comes without momentum.

    >>> import numpy as np
    >>> block, slots = SGD(lr=0.1).update(np, np.ones(2), np.asarray([1.0, -1.0]), {}, np.asarray(0.1), np.asarray(1))
    >>> block
    array([0.9, 1.1])
    """

    lr: float | Schedule
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rates(self)
        check_number(self, "momentum", "at least 0 and below 1", lambda momentum: 0 <= momentum < 1)
        if not isinstance(self.nesterov, bool):
            raise UsageError(f"SGD: nesterov must be True or False, but is {shown(self.nesterov)}")
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs a momentum above 0, such as momentum=0.9")

    def init(self, xp: Namespace, block: Array) -> Slots:
        return {"velocity": xp.zeros_like(block)} if self.momentum else {}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array, step: Array
    ) -> tuple[Array, Slots]:
        if not self.momentum:
            gradient *= learning_rate
            block -= gradient
            return block, slots
        velocity = slots["velocity"]
        velocity *= self.momentum
        velocity += gradient
        if self.nesterov:
            gradient += self.momentum * velocity
            block -= learning_rate * gradient
        else:
            block -= learning_rate * velocity
        return block, {"velocity": velocity}


@dataclass(frozen=True)
class Adam:
    """Adam: every number has a step size of its own, from running means m of g and s of g^2 (Kingma and Ba 2015).

    m <- beta1 * m + (1 - beta1) * g, s <- beta2 * s + (1 - beta2) * g^2; then, as PyTorch has it,
    w <- w - lr * (m / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + eps) at step t = 1, 2, ...

    Raises
    ------
    UsageError
        When a number is negative, or one of `betas` is 1 or more.

    >>> import numpy as np
    >>> adam = Adam(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> adam.update(np, block, gradient, adam.init(np, block), np.asarray(0.1), np.asarray(1))[0].round(4)
    array([0.9, 1.1])
    """

    lr: float | Schedule = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rates(self)
        numbers = map(python_number, self.betas) if isinstance(self.betas, (list, tuple)) else ()
        betas = tuple(float(beta) for beta in numbers if beta is not None and 0 <= beta < 1)
        if len(betas) != 2 or len(self.betas) != 2:
            words = "two numbers, at least 0 and below 1, such as (0.9, 0.999)"
            raise UsageError(f"Adam: betas must be {words}, but are {shown(self.betas)}")
        object.__setattr__(self, "betas", betas)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def init(self, xp: Namespace, block: Array) -> Slots:
        return {"mean": xp.zeros_like(block), "square": xp.zeros_like(block)}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array, step: Array
    ) -> tuple[Array, Slots]:
        mean, square = slots["mean"], slots["square"]
        beta1, beta2 = self.betas
        step = xp.astype(step, block.dtype)
        # Both corrections are single numbers, so they are applied to the rate and to eps rather than to every number.
        root2 = xp.sqrt(_correction(xp, beta2, step))
        rate = learning_rate * root2 / _correction(xp, beta1, step)
        mean *= beta1
        mean += (1.0 - beta1) * gradient
        gradient *= gradient
        gradient *= 1.0 - beta2
        square *= beta2
        square += gradient
        root = xp.sqrt(square)
        root += self._epsilon(root2)
        change = mean / root
        change *= rate
        block -= change
        return block, {"mean": mean, "square": square}

    def _epsilon(self, root2: Array) -> Array:
        return self.eps * root2


def _correction(xp: Namespace, beta: float, step: Array) -> Array:
    """1 - beta^step, exact in float32 too, where a power of 0.999 is not."""
    return -xp.expm1(step * math.log(beta)) if beta else xp.ones_like(step)


def check_rates(optimizer: Optimizer) -> None:
    """Make `lr`, unless it is a schedule, and `weight_decay` Python numbers.

    Raises
    ------
    UsageError
        When one of them cannot be.
    """
    if isinstance(optimizer.lr, type) or not callable(optimizer.lr):
        check_number(
            optimizer, "lr", "above 0 and finite, or a schedule such as LinearDecay(0.1, 1000)", lambda lr: lr > 0
        )
    check_number(optimizer, "weight_decay", "0 or more and finite", lambda decay: decay >= 0)
