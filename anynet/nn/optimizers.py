"""Optimizers: how a gradient becomes a step.

An optimizer is written for a block, an array of any shape: all the numbers of a network in one, or one
parameter by itself. ``init`` makes what it remembers between steps, its slots; ``update`` owns block,
gradient and slots, works in place where the library can, and returns block and slots. Weight decay is
decoupled (Loshchilov and Hutter 2019): before the update, the training step shrinks the weights by
w <- w - lr * weight_decay * w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from anynet.errors import UsageError
from anynet.nn.layer import Array, Namespace, use_python_numbers
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
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
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
    >>> block, slots = SGD(lr=0.1).update(np, np.ones(2), np.asarray([1.0, -1.0]), {}, np.asarray(0.1))
    >>> block
    array([0.9, 1.1])
    """

    lr: float | Schedule
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        use_python_numbers(self)
        if not callable(self.lr) and not 0 < self.lr < float("inf"):
            raise UsageError(f"lr must be above 0 and finite, or a schedule, but is {self.lr!r}")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be at least 0 and below 1, but is {self.momentum!r}")
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs a momentum above 0, such as momentum=0.9")
        if not 0 <= self.weight_decay < float("inf"):
            raise UsageError(f"weight_decay must be 0 or more and finite, but is {self.weight_decay!r}")

    def init(self, xp: Namespace, block: Array) -> Slots:
        return {"velocity": xp.zeros_like(block)} if self.momentum else {}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
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
