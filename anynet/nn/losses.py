"""Losses, such as mean squared error and cross-entropy.

A loss is called as ``loss(xp, prediction, target, weight)``. It returns its value, a 0-d array, or a pair: the value
and its gradient with respect to the prediction. If it returns the value alone, the gradient is derived. `weight`, of
shape (batch,), multiplies the loss of each sample before they are added up. For a mean it is 1 / batch for each sample,
for a weighted mean the sample's share.

`target_kind` is the kind of target: "class" for class numbers 0, 1, ... of shape (batch,), "probability" for numbers
from 0 to 1, or "value" for any numbers. The last two have the shape of the prediction. A loss for classes also has
`probabilities`, which turns a prediction into probabilities, and `classify`, which returns the most likely class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from anynet.nn.activations import sigmoid, softmax
from anynet.nn.checks import check_number
from anynet.nn.layer import Array, Namespace, device_of

TargetKind: TypeAlias = Literal["class", "probability", "value"]


class Loss(Protocol):
    """The interface of a loss: a call that returns its value, alone or with its gradient, and the kind of target.

    In your own loss, write ``target_kind = "value"`` without ClassVar, since pyright does not accept that here.
    """

    @property
    def target_kind(self) -> str: ...

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Any: ...


def _per_sample(xp: Namespace, weight: Array, prediction: Array) -> Array:
    return xp.reshape(weight, (-1,) + (1,) * (prediction.ndim - 1))


def _outputs(prediction: Array) -> int:
    count = 1
    for size in prediction.shape[1:]:
        count *= size
    return count


@dataclass(frozen=True)
class MSELoss:
    """Mean squared error: the mean of (prediction - target)^2 over samples and outputs.

    >>> import numpy as np
    >>> MSELoss()(np, np.asarray([[1.536]]), np.asarray([[2.0]]), np.asarray([1.0]))[0].round(6)
    np.float64(0.215296)
    """

    target_kind = "value"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        error = prediction - target
        weighted = error * (_per_sample(xp, weight, prediction) / _outputs(prediction))
        return xp.sum(error * weighted), 2.0 * weighted


@dataclass(frozen=True)
class HalfMSELoss:
    """Half mean squared error: 1/(2n) times the sum of (prediction - target)^2 over n samples and all outputs.

    It is a mean over samples, but a sum over outputs; its gradient has no factor 2.

    >>> import numpy as np
    >>> value, gradient = HalfMSELoss()(np, np.asarray([[21.0]]), np.asarray([[3.0]]), np.asarray([1.0]))
    >>> float(value), gradient
    (162.0, array([[18.]]))
    """

    target_kind = "value"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        error = prediction - target
        weighted = error * _per_sample(xp, weight, prediction)
        return 0.5 * xp.sum(error * weighted), weighted


@dataclass(frozen=True)
class BCELoss:
    """Binary cross-entropy of probabilities p: the mean of -t log p - (1 - t) log(1 - p).

    p and 1 - p count as at least `epsilon`, so value and gradient are finite even if p is 0 or 1. If p comes from a
    sigmoid that saturates, the network stops learning; `BCEWithLogitsLoss` does not have this problem.

    >>> import numpy as np
    >>> value, _ = BCELoss()(np, np.asarray([[0.0]]), np.asarray([[1.0]]), np.asarray([1.0]))
    >>> float(value.round(4))
    34.5388
    """

    epsilon: float = 1e-15
    target_kind = "probability"

    def __post_init__(self) -> None:
        check_number(self, "epsilon", "above 0 and below 1", lambda epsilon: 0 < epsilon < 1)

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        yes = xp.maximum(prediction, self.epsilon)
        no = xp.maximum(1.0 - prediction, self.epsilon)
        share = _per_sample(xp, weight, prediction) / _outputs(prediction)
        value = -xp.sum(share * (target * xp.log(yes) + (1.0 - target) * xp.log(no)))
        return value, share * ((1.0 - target) / no - target / yes)

    def probabilities(self, xp: Namespace, prediction: Array) -> Array:
        return prediction

    def classify(self, xp: Namespace, prediction: Array) -> Array:
        return xp.astype(prediction >= 0.5, xp.int32)


@dataclass(frozen=True)
class BCEWithLogitsLoss:
    """Binary cross-entropy from logits z: the mean of max(z, 0) - z t + log(1 + exp(-|z|)), exact for any z.

    >>> import numpy as np
    >>> value, gradient = BCEWithLogitsLoss()(np, np.asarray([[1e4]]), np.asarray([[0.0]]), np.asarray([1.0]))
    >>> float(value), gradient
    (10000.0, array([[1.]]))
    """

    target_kind = "probability"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        return binary_cross_entropy_with_logits(xp, prediction, target, weight)

    def probabilities(self, xp: Namespace, prediction: Array) -> Array:
        return sigmoid(xp, prediction)

    def classify(self, xp: Namespace, prediction: Array) -> Array:
        return xp.astype(prediction >= 0, xp.int32)


@dataclass(frozen=True)
class CrossEntropyLoss:
    """Softmax cross-entropy from logits z and class numbers t: the mean of log(sum of exp(z)) - z[t].

    `prediction` has shape (batch, classes), `target` holds integers of shape (batch,). The gradient is
    softmax(z), minus 1 at the target.

    >>> import numpy as np
    >>> logits = np.asarray([[1e4, 0.0], [0.0, 0.0]])
    >>> value, gradient = CrossEntropyLoss()(np, logits, np.asarray([0, 1]), np.asarray([0.5, 0.5]))
    >>> float(value.round(4)), gradient
    (0.3466, array([[ 0.  ,  0.  ],
           [ 0.25, -0.25]]))
    """

    target_kind = "class"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> tuple[Array, Array]:
        return cross_entropy(xp, prediction, target, weight)

    def probabilities(self, xp: Namespace, prediction: Array) -> Array:
        return softmax(xp, prediction)

    def classify(self, xp: Namespace, prediction: Array) -> Array:
        return xp.astype(xp.argmax(prediction, axis=-1), xp.int32)


def binary_cross_entropy_with_logits(
    xp: Namespace, prediction: Array, target: Array, weight: Array, largest: float = math.inf
) -> tuple[Array, Array]:
    """Value and gradient of `BCEWithLogitsLoss`; in the value, the loss of each output is at most `largest`."""
    share = _per_sample(xp, weight, prediction) / _outputs(prediction)
    losses = xp.maximum(prediction, 0.0) - prediction * target + xp.log1p(xp.exp(-xp.abs(prediction)))
    return xp.sum(share * _at_most(xp, losses, largest)), share * (sigmoid(xp, prediction) - target)


def cross_entropy(
    xp: Namespace, prediction: Array, target: Array, weight: Array, largest: float = math.inf
) -> tuple[Array, Array]:
    """Value and gradient of `CrossEntropyLoss`; in the value, the loss of each sample is at most `largest`."""
    classes = xp.arange(prediction.shape[-1], dtype=target.dtype, device=device_of(target))
    chosen = target[:, None] == classes
    share = weight[:, None]
    shifted = prediction - xp.max(prediction, axis=-1, keepdims=True)
    gradient = xp.exp(shifted)
    total = xp.sum(gradient, axis=-1, keepdims=True)
    losses = _at_most(xp, xp.log(total) - shifted, largest)
    value = xp.sum(xp.where(chosen, share * losses, 0.0))
    gradient *= share / total
    gradient -= xp.astype(chosen, share.dtype) * share
    return value, gradient


def _at_most(xp: Namespace, losses: Array, largest: float) -> Array:
    return losses if largest == math.inf else xp.minimum(losses, largest)
