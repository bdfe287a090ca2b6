"""Optimizers: their base class, and those with one learning rate for all numbers: SGD and Lion.

An optimizer updates a block: an array that holds all parameters of a network, or one parameter, or a part of one. So a
few operations update the whole network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from anynet.errors import UsageError
from anynet.nn.checks import check_betas, check_flag, check_number
from anynet.nn.layer import Array, Namespace
from anynet.nn.schedules import Schedule, check_rate

Slots: TypeAlias = dict[str, Array]


class Optimizer:
    """The base of every optimizer: derive a frozen dataclass with a field `lr`, and write `update`.

    Attributes
    ----------
    lr : float or Schedule
        The learning rate, or a schedule that gives it for each step.
    weight_decay : float
        Decoupled weight decay (Loshchilov and Hutter 2019): before `update` is called, the training step shrinks the
        weights by w <- w - lr * weight_decay * w. An optimizer without this field has no weight decay.
    elementwise : bool
        Whether each number is updated independently of the others. Set it to False if the rule needs, for example, the
        norm or the shape of a parameter: then each block is one parameter in its own shape.

    Raises
    ------
    UsageError
        When `lr` or `weight_decay` is negative or no number.

    >>> import numpy as np
    >>> @dataclass(frozen=True)
    ... class SignSGD(Optimizer):
    ...     lr: float | Schedule = 0.01
    ...
    ...     def update(self, xp, block, gradient, slots, learning_rate):
    ...         block -= learning_rate * xp.sign(gradient)
    ...         return block, slots
    >>> SignSGD().update(np, np.ones(2), np.asarray([5.0, -0.1]), {}, 0.01)[0]
    array([0.99, 1.01])
    """

    lr: float | Schedule
    weight_decay: float = 0.0
    elementwise: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", check_rate(self.lr, f"{type(self).__name__}: lr"))
        check_number(self, "weight_decay", "0 or more and finite", lambda decay: decay >= 0)

    def init(self, xp: Namespace, block: Array) -> Slots:
        """The optimizer state of a block before the first step: its slots, by name.

        A slot is a new array of the block's dtype. It has the block's shape or, such as a step count, the shape (). If
        the optimizer is not `elementwise`, slots may have any shape.
        """
        return {}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        """Return the block and the slots after a step.

        Parameters
        ----------
        xp : namespace
        block, gradient : arrays of the same shape
            Both may be overwritten, and so may the slots.
        slots : dict of arrays
        learning_rate : 0-d array
        """
        raise NotImplementedError


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, as in PyTorch: v <- momentum * v + g, then w <- w - lr * v.

    With `nesterov` the step is w <- w - lr * (g + momentum * v) (Sutskever et al. 2013). Without momentum
    there is no v: w <- w - lr * g.

    Parameters
    ----------
    lr : float or Schedule
        The learning rate, above 0, or such as ``LinearDecay(0.1, steps=1000)``.
    momentum : float
        At least 0 and below 1.
    nesterov : bool
        Needs a momentum above 0.
    weight_decay : float
        Decoupled, see `Optimizer`.

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
        super().__post_init__()
        check_number(self, "momentum", "at least 0 and below 1", lambda momentum: 0 <= momentum < 1)
        check_flag(self, "nesterov")
        if self.nesterov and not self.momentum:
            raise UsageError("nesterov needs a momentum above 0, such as momentum=0.9")

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


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion: steps of one length, in the direction of the sign of a running mean m of g (Chen et al. 2023).

    w <- w - lr * sign(beta1 * m + (1 - beta1) * g), then m <- beta2 * m + (1 - beta2) * g. As each number moves by lr,
    the authors take a rate 3 to 10 times smaller than for Adam, and a weight decay as many times larger.

    Parameters
    ----------
    lr : float or Schedule
    betas : (float, float)
        The share of m in a step, and the decay rate of m, each at least 0 and below 1.
    weight_decay : float
        Decoupled, see `Optimizer`.

    Raises
    ------
    UsageError
        When a number is negative, or one of `betas` is 1 or more.

    >>> import numpy as np
    >>> lion = Lion(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> lion.update(np, block, gradient, lion.init(np, block), np.asarray(0.1))[0]
    array([0.9, 1.1])
    """

    lr: float | Schedule = 0.0001
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_betas(self)

    def init(self, xp: Namespace, block: Array) -> Slots:
        return {"mean": xp.zeros_like(block)}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        mean = slots["mean"]
        beta1, beta2 = self.betas
        block -= learning_rate * xp.sign(beta1 * mean + (1.0 - beta1) * gradient)
        gradient *= 1.0 - beta2
        mean *= beta2
        mean += gradient
        return block, {"mean": mean}
