"""Metrics, such as accuracy or R squared: what is measured beside the loss.

A metric is measured batch by batch, on any array library. `update` returns sums over the samples of a batch. The host
adds them up over all batches, and `compute` turns them into the measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from anynet.nn import Loss
from anynet.nn.layer import Array, Namespace, device_of

Totals: TypeAlias = dict[str, Any]


class Metric:
    """The base of every metric: derive a frozen dataclass, name it, and write `update` and `compute`.

    Attributes
    ----------
    name : str
        The key in what `evaluate` returns; in the records of `fit` it begins with ``val_``. A property where it depends
        on the metric's fields.
    higher_is_better : bool
        Used by early stopping, and to find the best checkpoint.
    target_kinds : tuple of str
        The kinds of target that it accepts, out of "class", "probability" and "value".
    needs : tuple of str
        The methods of the loss that it calls, out of "classify" and "probabilities".

    >>> class Bias(Metric):
    ...     name = "bias"
    ...     higher_is_better = False
    ...     target_kinds = ("value",)
    ...
    ...     def update(self, xp, loss, prediction, target, weight):
    ...         return {"error": xp.sum(weight[:, None] * (prediction - target))}
    ...
    ...     def compute(self, means):
    ...         return abs(float(means["error"]))
    >>> from anynet import Model
    >>> from anynet.nn import SGD, Linear, MSELoss, Values
    >>> model = Model(Linear(1, weight=Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[Bias()])
    >>> model.evaluate(np.asarray([[1.0], [2.0]]), np.asarray([1.0, 1.0]))["bias"]
    0.5
    """

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def higher_is_better(self) -> bool:
        raise NotImplementedError

    target_kinds: ClassVar[tuple[str, ...]] = ("class", "probability", "value")
    needs: ClassVar[tuple[str, ...]] = ()

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        """Weighted sums over the samples of a batch: arrays of any shape, by name.

        Parameters
        ----------
        xp : namespace
        loss : Loss
            Turns predictions into classes or probabilities, by `classify` and `probabilities`.
        prediction : array of shape (batch, ...)
        target : array of shape (batch, ...)
            In the form that the loss takes.
        weight : array of shape (batch,)
        """
        raise NotImplementedError

    def reduce(self, totals: Totals) -> Totals:
        """Combine the sums of several batches, stacked along the first axis, into those of all; here by addition."""
        return {name: total.sum(axis=0) for name, total in totals.items()}

    def compute(self, means: Totals) -> float:
        """The measure, from the sums of `update` over all samples, divided by the sum of the sample weights.

        `means` holds NumPy arrays of float64, with the names that `update` gave.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of correct classes, over samples and, with a probability loss, over their outputs.

    A target that is a probability counts as class 1 if it is 0.5 or more, else as class 0.
    """

    name = "accuracy"
    higher_is_better = True
    target_kinds = ("class", "probability")
    needs = ("classify",)

    def update(self, xp: Namespace, loss: Any, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        right = loss.classify(xp, prediction) == _labels(xp, loss, target)
        right = xp.astype(xp.reshape(right, (right.shape[0], -1)), weight.dtype)
        return {"right": xp.sum(weight * xp.mean(right, axis=1))}

    def compute(self, means: Totals) -> float:
        return float(means["right"])


@dataclass(frozen=True)
class F1Score(Metric):
    """2 TP / (2 TP + FP + FN) of class 1 if there are two classes, else the mean over all classes that occur.

    With a probability loss, several outputs are several classes, and a sample may have any number of them. It is
    `sklearn.metrics.f1_score` with ``average="binary"`` for two classes, else with ``"macro"``.
    """

    name = "f1"
    higher_is_better = True
    target_kinds = ("class", "probability")
    needs = ("classify",)

    def update(self, xp: Namespace, loss: Any, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        predicted = _one_hot(xp, loss, loss.classify(xp, prediction), prediction)
        actual = _one_hot(xp, loss, _labels(xp, loss, target), prediction)
        sums = {"both": predicted & actual, "predicted": predicted, "actual": actual}
        return {name: xp.sum(weight[:, None] * xp.astype(marks, weight.dtype), axis=0) for name, marks in sums.items()}

    def compute(self, means: Totals) -> float:
        count = means["predicted"] + means["actual"]
        occurs = count > 0
        return float(np.mean(2 * means["both"][occurs] / count[occurs])) if occurs.any() else 0.0


@dataclass(frozen=True)
class ROCAUC(Metric):
    """The area under the ROC curve: how often a sample of a class scores higher than one of another class.

    With two classes it is that of class 1, else the mean over classes, each against the rest. A class that no sample
    has, or every sample, does not count; nan if no class counts. It approximates `sklearn.metrics.roc_auc_score` by a
    histogram of the log-odds with 4,096 bins from -16 to 16, so they differ in the fourth digit or later.
    """

    name = "roc_auc"
    higher_is_better = True
    target_kinds = ("class", "probability")
    needs = ("probabilities",)

    _SIDE: ClassVar[int] = 64
    _FARTHEST: ClassVar[float] = 16.0

    def update(self, xp: Namespace, loss: Any, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        actual = _one_hot(xp, loss, _labels(xp, loss, target), prediction)
        probabilities = xp.reshape(loss.probabilities(xp, prediction), (prediction.shape[0], -1))
        scores = probabilities[:, -actual.shape[1] :]
        log_odds = xp.log(xp.maximum(scores, 1e-7)) - xp.log(xp.maximum(1.0 - scores, 1e-7))
        bins = (log_odds + self._FARTHEST) * (self._SIDE**2 / (2 * self._FARTHEST))
        bins = xp.clip(xp.astype(xp.floor(bins), xp.int32), 0, self._SIDE**2 - 1)
        place = xp.arange(self._SIDE, dtype=xp.int32, device=device_of(bins))
        # Bins are numbered by row and column of a square, so that one matrix product counts all bins of a class.
        rows = xp.permute_dims(bins // self._SIDE, (1, 0))[:, None, :] == place[:, None]
        columns = xp.permute_dims(bins % self._SIDE, (1, 0))[:, :, None] == place
        columns = xp.astype(columns, weight.dtype)
        marks = xp.astype(xp.permute_dims(actual, (1, 0)), weight.dtype)
        sums = {}
        for name, share in (("positive", weight * marks), ("negative", weight * (1.0 - marks))):
            sums[name] = xp.matmul(xp.astype(rows, weight.dtype) * share[:, None, :], columns)
        return sums

    def compute(self, means: Totals) -> float:
        positive, negative = (means[name].reshape(len(means[name]), -1) for name in ("positive", "negative"))
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        areas = (positive * below).sum(axis=1)[pairs > 0] / pairs[pairs > 0]
        return float(areas.mean()) if len(areas) else np.nan


@dataclass(frozen=True)
class R2Score(Metric):
    """The explained share of the variance of targets t, by predictions y: 1 - sum (t - y)^2 / sum (t - mean t)^2.

    With several outputs it is their mean. For a constant target it is 1 if all predictions are exact, else 0. It is
    the same as `sklearn.metrics.r2_score`.
    """

    name = "r2"
    higher_is_better = True
    target_kinds = ("value",)

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        prediction, target = _flat(xp, prediction), _flat(xp, target)
        share = weight[:, None]
        total = xp.sum(weight)
        sums = xp.sum(share * target, axis=0)
        mean = sums / xp.where(total > 0, total, xp.ones_like(total))
        return {
            "weight": total,
            "target": sums,
            "spread": xp.sum(share * (target - mean) ** 2, axis=0),
            "error": xp.sum(share * (target - prediction) ** 2, axis=0),
        }

    def reduce(self, totals: Totals) -> Totals:
        """The sums; the spread becomes the one around the mean of all batches (Chan, Golub and LeVeque 1979)."""
        # The shorter formula, sum of squares minus square of the sum, loses digits by cancellation.
        summed = super().reduce(totals)
        weight = totals["weight"][:, None]
        means = totals["target"] / np.where(weight > 0, weight, 1)
        mean = summed["target"] / np.where(summed["weight"] > 0, summed["weight"], 1)
        summed["spread"] += (weight * (means - mean) ** 2).sum(axis=0)
        return summed

    def compute(self, means: Totals) -> float:
        error, spread = means["error"], means["spread"]
        unexplained = np.divide(error, spread, out=(error > 0).astype(float), where=spread > 0)
        return float(np.mean(1 - unexplained))


@dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """The mean of |prediction - target| over samples and outputs."""

    name = "mae"
    higher_is_better = False
    target_kinds = ("value",)

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        error = xp.abs(_flat(xp, prediction - target))
        return {"error": xp.sum(weight * xp.mean(error, axis=1))}

    def compute(self, means: Totals) -> float:
        return float(means["error"])


@dataclass(frozen=True)
class RootMeanSquaredError(Metric):
    """The square root of the mean of (prediction - target)^2 over samples and outputs."""

    name = "rmse"
    higher_is_better = False
    target_kinds = ("value",)

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        error = _flat(xp, prediction - target)
        return {"error": xp.sum(weight * xp.mean(error * error, axis=1))}

    def compute(self, means: Totals) -> float:
        return float(np.sqrt(means["error"]))


METRICS = (Accuracy, F1Score, ROCAUC, R2Score, MeanAbsoluteError, RootMeanSquaredError)


def default_metrics(loss: Loss) -> tuple[Metric, ...]:
    """The metrics of a model that was given none: accuracy if the loss can classify, else nothing.

    >>> from anynet.nn import CrossEntropyLoss, MSELoss
    >>> default_metrics(CrossEntropyLoss()), default_metrics(MSELoss())
    ((Accuracy(),), ())
    """
    return (Accuracy(),) if hasattr(loss, "classify") else ()


def _labels(xp: Namespace, loss: Loss, target: Array) -> Array:
    """Targets as class numbers, as `classify` returns them; a probability is 1 from 0.5 on, else 0."""
    return target if loss.target_kind == "class" else xp.astype(target >= 0.5, xp.int32)


def _one_hot(xp: Namespace, loss: Loss, labels: Array, prediction: Array) -> Array:
    """A bool array of shape (batch, classes): which class each sample has; of two classes, only the second."""
    if loss.target_kind != "class":
        return _flat(xp, labels) == 1
    classes = xp.arange(prediction.shape[-1], dtype=labels.dtype, device=device_of(labels))
    return labels[:, None] == (classes[1:] if prediction.shape[-1] == 2 else classes)


def _flat(xp: Namespace, x: Array) -> Array:
    return xp.reshape(x, (x.shape[0], -1))
