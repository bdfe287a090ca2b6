"""Adaptive optimizers, which give each number a step size of its own: Adam and its kin, RMSprop, Adagrad.

Each divides the gradient by the root of a mean, or sum, of its squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from anynet.nn.checks import check_betas, check_flag, check_number
from anynet.nn.layer import Array, Namespace, device_of
from anynet.nn.optimizers import Optimizer, Slots
from anynet.nn.schedules import Schedule


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam: each number has its own step size, from running means m of g and s of g^2 (Kingma and Ba 2015).

    m <- beta1 * m + (1 - beta1) * g, s <- beta2 * s + (1 - beta2) * g^2; then, as in PyTorch,
    w <- w - lr * (m / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + eps) at step t = 1, 2, ...

    Parameters
    ----------
    lr : float or Schedule
    betas : (float, float)
        The decay rates of m and s, each at least 0 and below 1.
    eps : float
        Above 0.
    weight_decay : float
        Decoupled, see `Optimizer`; above 0, this is `AdamW`, whereas PyTorch's Adam adds it to the gradient.

    Raises
    ------
    UsageError
        When a number is negative, or one of `betas` is 1 or more.

    >>> import numpy as np
    >>> adam = Adam(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> adam.update(np, block, gradient, adam.init(np, block), np.asarray(0.1))[0].round(4)
    array([0.9, 1.1])
    """

    lr: float | Schedule = 0.001
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_betas(self)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def init(self, xp: Namespace, block: Array) -> Slots:
        return {"mean": xp.zeros_like(block), "square": xp.zeros_like(block), "step": _no_steps(xp, block)}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        slots = self._averaged(gradient, slots)
        correction1, correction2 = (bias_correction(xp, beta, slots["step"]) for beta in self.betas)
        # Correcting two numbers, the learning rate and eps, is cheaper than correcting all means and squares.
        root2 = xp.sqrt(correction2)
        root = xp.sqrt(slots["square"])
        root += self.eps * root2
        change = slots["mean"] / root
        change *= learning_rate * root2 / correction1
        block -= change
        return block, slots

    def _averaged(self, gradient: Array, slots: Slots) -> Slots:
        """The running means after a step."""
        mean, square, step = slots["mean"], slots["square"], slots["step"]
        beta1, beta2 = self.betas
        step += 1
        mean *= beta1
        mean += (1.0 - beta1) * gradient
        gradient *= gradient
        gradient *= 1.0 - beta2
        square *= beta2
        square += gradient
        return {"mean": mean, "square": square, "step": step}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019): `Adam` with another default.

    Before the step of `Adam`, w <- w - lr * weight_decay * w.

    >>> AdamW()
    AdamW(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.01)
    """

    weight_decay: float = 0.01


@dataclass(frozen=True)
class NAdam(Adam):
    """Adam with Nesterov momentum: m is replaced by what it will be after one more step of this g (Dozat 2016).

    As in PyTorch: with mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2) and pi_t = mu_1 * ... * mu_t, the corrected m
    of `Adam` becomes mu_(t+1) * m / (1 - pi_(t+1)) + (1 - mu_t) * g / (1 - pi_t).

    Parameters
    ----------
    lr, betas, eps, weight_decay
        As in `Adam`.
    momentum_decay : float
        0 or more; the larger, the sooner mu grows from half of beta1 to beta1.

    >>> import numpy as np
    >>> nadam = NAdam(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> nadam.update(np, block, gradient, nadam.init(np, block), np.asarray(0.1))[0].round(3)
    array([0.894, 1.106])
    """

    lr: float | Schedule = 0.002
    momentum_decay: float = 0.004

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "momentum_decay", "0 or more and finite", lambda decay: decay >= 0)

    def init(self, xp: Namespace, block: Array) -> Slots:
        product = xp.ones((), dtype=block.dtype, device=device_of(block))
        return {**super().init(xp, block), "product": product}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        now, following = (self._momentum(xp, slots["step"] + ahead) for ahead in (1.0, 2.0))
        product = slots["product"]
        product *= now
        change = gradient * ((1.0 - now) / (1.0 - product))
        slots = self._averaged(gradient, slots)
        change += slots["mean"] * (following / (1.0 - product * following))
        root = xp.sqrt(slots["square"] / bias_correction(xp, self.betas[1], slots["step"]))
        root += self.eps
        change /= root
        change *= learning_rate
        block -= change
        return block, {**slots, "product": product}

    def _momentum(self, xp: Namespace, step: Array) -> Array:
        """mu of a step."""
        return self.betas[0] * (1.0 - 0.5 * xp.exp(step * (self.momentum_decay * math.log(0.96))))


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop: the gradient is divided by the root of a running mean s of g^2 (Tieleman and Hinton 2012).

    s <- alpha * s + (1 - alpha) * g^2, then, as in PyTorch, w <- w - lr * g / (sqrt(s) + eps). With `centered`, s - m^2
    replaces s, where m <- alpha * m + (1 - alpha) * g (Graves 2013). With momentum, v <- momentum * v + the quotient,
    and w <- w - lr * v.

    Parameters
    ----------
    lr : float or Schedule
    alpha : float
        The decay rate of s and m, at least 0 and below 1.
    eps : float
        Above 0.
    momentum : float
        At least 0 and below 1.
    centered : bool
    weight_decay : float
        Decoupled, see `Optimizer`; PyTorch's adds it to the gradient.

    Raises
    ------
    UsageError
        When a number is negative, or `alpha` or `momentum` is 1 or more.

    >>> import numpy as np
    >>> rmsprop = RMSprop(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> rmsprop.update(np, block, gradient, rmsprop.init(np, block), np.asarray(0.1))[0].round(3)
    array([0., 2.])
    """

    lr: float | Schedule = 0.01
    alpha: float = 0.99
    eps: float = 1e-8
    momentum: float = 0.0
    centered: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("alpha", "momentum"):
            check_number(self, name, "at least 0 and below 1", lambda share: 0 <= share < 1)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)
        check_flag(self, "centered")

    def init(self, xp: Namespace, block: Array) -> Slots:
        names = ["square", *(["mean"] if self.centered else []), *(["velocity"] if self.momentum else [])]
        return {name: xp.zeros_like(block) for name in names}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        square = slots["square"]
        square *= self.alpha
        square += (1.0 - self.alpha) * (gradient * gradient)
        kept, variance = {"square": square}, square
        if self.centered:
            mean = slots["mean"]
            mean *= self.alpha
            mean += (1.0 - self.alpha) * gradient
            kept["mean"] = mean
            # Never below 0, as rounding may make it where all gradients were the same.
            variance = xp.maximum(square - mean * mean, 0.0)
        root = xp.sqrt(variance)
        root += self.eps
        gradient /= root
        if self.momentum:
            velocity = slots["velocity"]
            velocity *= self.momentum
            velocity += gradient
            kept["velocity"] = gradient = velocity
        block -= learning_rate * gradient
        return block, kept


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad: the gradient is divided by the root of the sum s of all g^2 so far (Duchi, Hazan and Singer 2011).

    s <- s + g^2, then, as in PyTorch, w <- w - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps) at step t = 1, ...

    Parameters
    ----------
    lr : float or Schedule
    lr_decay, initial_accumulator_value : float
        0 or more; s starts at the latter.
    eps : float
        Above 0.
    weight_decay : float
        Decoupled, see `Optimizer`; PyTorch's adds it to the gradient.

    Raises
    ------
    UsageError
        When a number is negative.

    >>> import numpy as np
    >>> adagrad = Adagrad(lr=0.1)
    >>> block, gradient = np.ones(2), np.asarray([1e-3, -5.0])
    >>> adagrad.update(np, block, gradient, adagrad.init(np, block), np.asarray(0.1))[0].round(4)
    array([0.9, 1.1])
    """

    lr: float | Schedule = 0.01
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr_decay", "initial_accumulator_value"):
            check_number(self, name, "0 or more and finite", lambda number: number >= 0)
        check_number(self, "eps", "above 0 and finite", lambda eps: eps > 0)

    def init(self, xp: Namespace, block: Array) -> Slots:
        step = {"step": _no_steps(xp, block)} if self.lr_decay else {}
        return {"sum": xp.full_like(block, self.initial_accumulator_value), **step}

    def update(
        self, xp: Namespace, block: Array, gradient: Array, slots: Slots, learning_rate: Array
    ) -> tuple[Array, Slots]:
        total = slots["sum"]
        total += gradient * gradient
        kept = {"sum": total}
        if self.lr_decay:
            learning_rate = learning_rate / (1.0 + slots["step"] * self.lr_decay)
            kept["step"] = slots["step"] + 1.0
        root = xp.sqrt(total)
        root += self.eps
        gradient /= root
        block -= learning_rate * gradient
        return block, kept


def bias_correction(xp: Namespace, beta: float, step: Array) -> Array:
    """1 - beta^step, which stays accurate in float32 by expm1; a power of 0.999 would not."""
    return -xp.expm1(step * math.log(beta)) if beta else xp.ones_like(step)


def _no_steps(xp: Namespace, block: Array) -> Array:
    """A step count of 0: a float, as in PyTorch, since a correction ends long before float32 cannot count further."""
    return xp.zeros((), dtype=block.dtype, device=device_of(block))
