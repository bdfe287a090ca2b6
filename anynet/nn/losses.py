"""Losses, such as mean squared error and cross-entropy.

A loss is called as ``loss(xp, prediction, target, weight)``. It returns its value, a 0-d array, or a pair: the value
and its gradient with respect to the prediction. If it returns the value alone, the gradient is derived. `weight`, of
shape (batch,), multiplies the loss of each sample before they are added up. For a mean it is 1 / batch for each sample,
for a weighted mean the sample's share.

`target_kind` is the kind of target: "class" for class numbers 0, 1, ... of shape (batch,), "probability" for numbers
from 0 to 1, or "value" for any numbers. The last two have the shape of the prediction. A loss for classes also has
`probabilities`, which turns a prediction into probabilities, and `classify`, which returns the most likely class. A
loss whose prediction says more than values has `values`, which takes those from it; the target has their shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.activations import log_softmax, sigmoid, softmax, softplus
from anynet.nn.checks import check_number
from anynet.nn.derived import output_shape
from anynet.nn.initializers import Values
from anynet.nn.layer import Array, Namespace, Shape, device_of

TargetKind: TypeAlias = Literal["class", "probability", "value"]


class Loss(Protocol):
    """The interface of a loss: a call that returns its value, alone or with its gradient, and the kind of target.

    In your own loss, write ``target_kind = "value"`` without ClassVar, since pyright does not accept that here.
    """

    @property
    def target_kind(self) -> str: ...

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Any: ...


def values(loss: Any, xp: Namespace, prediction: Array) -> Array:
    """What of a prediction is to be near a target of values."""
    return loss.values(xp, prediction) if hasattr(loss, "values") else prediction


def target_shape(loss: Any, shape: Shape) -> Shape:
    """The shape of the target of values, for predictions of this shape."""
    return output_shape(loss.values, shape) if hasattr(loss, "values") else shape


def mean(xp: Namespace, losses: Array, weight: Array) -> Array:
    """The mean over samples and outputs of losses in the shape of the prediction."""
    return xp.sum(losses * (_per_sample(xp, weight, losses) / _outputs(losses)))


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

    Parameters
    ----------
    pos_weight : float or sequence of float
        Multiplies the loss of targets of 1: one number, or one for each output.

    >>> import numpy as np
    >>> value, gradient = BCEWithLogitsLoss()(np, np.asarray([[1e4]]), np.asarray([[0.0]]), np.asarray([1.0]))
    >>> float(value), gradient
    (10000.0, array([[1.]]))
    """

    pos_weight: Any = 1.0
    target_kind = "probability"

    def __post_init__(self) -> None:
        _check_weights(self, "pos_weight")

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Any:
        if self.pos_weight == 1.0:
            return binary_cross_entropy_with_logits(xp, prediction, target, weight)
        yes = _weights(self, "pos_weight", xp, prediction) * target
        return mean(xp, yes * softplus(xp, -prediction) + (1.0 - target) * softplus(xp, prediction), weight)

    def probabilities(self, xp: Namespace, prediction: Array) -> Array:
        return sigmoid(xp, prediction)

    def classify(self, xp: Namespace, prediction: Array) -> Array:
        return xp.astype(prediction >= 0, xp.int32)


@dataclass(frozen=True)
class HingeLoss:
    """The mean of max(0, 1 - s z), where s is 1 for a target of 1 and -1 for one of 0, as in Keras.

    A prediction z of 0 or more means class 1, as the decision function of a support vector machine; it has no
    probabilities. (In scikit-learn the targets themselves are -1 and 1.)

    >>> import numpy as np
    >>> float(HingeLoss()(np, np.asarray([[0.5], [-2.0]]), np.asarray([[1.0], [0.0]]), np.asarray([0.5, 0.5])))
    0.25
    """

    target_kind = "probability"

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Array:
        return mean(xp, xp.maximum(1.0 - (2.0 * target - 1.0) * prediction, 0.0), weight)

    def classify(self, xp: Namespace, prediction: Array) -> Array:
        return xp.astype(prediction >= 0, xp.int32)


@dataclass(frozen=True)
class CrossEntropyLoss:
    """Softmax cross-entropy from logits z and class numbers t: the mean of log(sum of exp(z)) - z[t].

    `prediction` has shape (batch, classes), `target` holds integers of shape (batch,). The gradient is
    softmax(z), minus 1 at the target.

    Parameters
    ----------
    label_smoothing : float
        So much of the target's probability is spread evenly over all classes (Szegedy et al. 2016).
    class_weights : sequence of float, optional
        One for each class; they multiply the logarithms of the probabilities, as in PyTorch. But the sum is divided by
        the number of samples, where PyTorch divides by the sum of their weights. Weights whose mean over all samples is
        1 make these the same on average, and keep the loss, and so the learning rate, at the usual size.

    >>> import numpy as np
    >>> logits = np.asarray([[1e4, 0.0], [0.0, 0.0]])
    >>> value, gradient = CrossEntropyLoss()(np, logits, np.asarray([0, 1]), np.asarray([0.5, 0.5]))
    >>> float(value.round(4)), gradient
    (0.3466, array([[ 0.  ,  0.  ],
           [ 0.25, -0.25]]))
    """

    label_smoothing: float = 0.0
    class_weights: Any = None
    target_kind = "class"

    def __post_init__(self) -> None:
        check_number(self, "label_smoothing", "from 0 to 1", lambda smoothing: 0 <= smoothing <= 1)
        if self.class_weights is not None:
            _check_weights(self, "class_weights")

    def __call__(self, xp: Namespace, prediction: Array, target: Array, weight: Array) -> Any:
        if self.label_smoothing == 0 and self.class_weights is None:
            return cross_entropy(xp, prediction, target, weight)
        share = (1.0 - self.label_smoothing) * xp.astype(_chosen(xp, prediction, target), prediction.dtype)
        share = share + self.label_smoothing / prediction.shape[-1]
        if self.class_weights is not None:
            share = share * _weights(self, "class_weights", xp, prediction)
        # The logarithm may be -inf where the share is 0.
        logs = xp.where(share > 0, log_softmax(xp, prediction), 0.0)
        return -xp.sum(weight[:, None] * share * logs)

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
    chosen = _chosen(xp, prediction, target)
    share = weight[:, None]
    shifted = prediction - xp.max(prediction, axis=-1, keepdims=True)
    gradient = xp.exp(shifted)
    total = xp.sum(gradient, axis=-1, keepdims=True)
    losses = _at_most(xp, xp.log(total) - shifted, largest)
    value = xp.sum(xp.where(chosen, share * losses, 0.0))
    gradient *= share / total
    gradient -= xp.astype(chosen, share.dtype) * share
    return value, gradient


def _chosen(xp: Namespace, prediction: Array, target: Array) -> Array:
    """Which class is the target, for each sample."""
    return target[:, None] == xp.arange(prediction.shape[-1], dtype=target.dtype, device=device_of(target))


def _check_weights(loss: object, name: str) -> None:
    """Make a field of a frozen dataclass a number, or a tuple of numbers, of 0 or more."""
    given = Values(getattr(loss, name)).values
    for number in given if isinstance(given, tuple) else (given,):
        if isinstance(number, tuple) or number < 0:
            raise UsageError(f"{type(loss).__name__}: {name} must hold numbers of 0 or more, but is {shown(given)}")
    object.__setattr__(loss, name, given)


def _weights(loss: object, name: str, xp: Namespace, prediction: Array) -> Array:
    """The numbers of a field, which must be one for each output if they are more than one."""
    given, outputs = getattr(loss, name), prediction.shape[-1]
    if isinstance(given, tuple) and len(given) != outputs:
        needs = f"{type(loss).__name__} needs as many {name} as the network has outputs"
        raise ShapeError(f"{needs}, {outputs}, but has {len(given)}")
    # One by one, since a GPU that records its work cannot be given a list.
    made = {"dtype": prediction.dtype, "device": device_of(prediction)}
    return xp.concat([xp.full((1,), number, **made) for number in (given if isinstance(given, tuple) else (given,))])


def _at_most(xp: Namespace, losses: Array, largest: float) -> Array:
    return losses if largest == math.inf else xp.minimum(losses, largest)
