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
from anynet.nn.losses import values

Totals: TypeAlias = dict[str, Any]


class Metric:
    """The base of every metric: derive a frozen dataclass, name it, and write `update` and `compute`.

    Attributes
    ----------
    name : str
        The key in what `evaluate` returns; in the records of `fit` it begins with ``val_``. A metric with settings
        may make it a field of the dataclass, so that two of them can be told apart.
    higher_is_better : bool
        Used by early stopping, and to find the best checkpoint.
    target_kinds : tuple of str
        The kinds of target that it accepts, out of "class", "probability" and "value".
    needs : tuple of str
        The methods of the loss that it calls, out of "classify" and "probabilities".

    >>> @dataclass(frozen=True)
    ... class Bias(Metric):
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

    name: str
    higher_is_better: bool
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

    def reduce(self, totals: list[Totals]) -> Totals:
        """Combine what `update` gave for several batches, or `reduce` for several groups of them; here by addition."""
        return {name: np.sum([total[name] for total in totals], axis=0) for name in totals[0]}

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

    With a probability loss each output is a label, of which a sample may have several; the mean is over all. It is
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
        share = weight[:, None]
        totals = {name: xp.sum(share * xp.astype(marks, weight.dtype), axis=0) for name, marks in sums.items()}
        # Labels count in the mean even if they never occur; classes that exclude each other do not.
        return totals if loss.target_kind == "class" else {**totals, "labels": xp.sum(weight)}

    def compute(self, means: Totals) -> float:
        count = means["predicted"] + means["actual"]
        score = np.divide(2 * means["both"], count, out=np.zeros_like(count), where=count > 0)
        counted = (count > 0) | ("labels" in means)
        return float(np.mean(score[counted])) if counted.any() else 0.0


@dataclass(frozen=True)
class ROCAUC(Metric):
    """The area under the ROC curve: how often a sample of a class scores higher than one of another class.

    With two classes it is that of class 1, else the mean over classes, each against the rest. A class that no sample
    has, or every sample, does not count; nan if no class counts or a score is nan. It is exact, as
    `sklearn.metrics.roc_auc_score` is, and keeps the scores of all samples until the end.
    """

    name = "roc_auc"
    higher_is_better = True
    target_kinds = ("class", "probability")
    needs = ("probabilities",)

    def update(self, xp: Namespace, loss: Any, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        actual = _one_hot(xp, loss, _labels(xp, loss, target), prediction)
        # An output for each probability rises with it, and does not round to 1.
        scores = _flat(xp, prediction if loss.target_kind != "class" else loss.probabilities(xp, prediction))
        if loss.target_kind == "class" and scores.shape[1] == 2:
            tiny = xp.finfo(scores.dtype).smallest_normal
            odds = xp.log(xp.maximum(scores, tiny))
            scores = odds[:, 1:] - odds[:, :1]
        positive = weight[:, None] * xp.astype(actual, weight.dtype)
        return {"scores": scores, "positive": positive, "negative": weight[:, None] - positive}

    def reduce(self, totals: list[Totals]) -> Totals:
        """Keep every sample."""
        return {name: np.concatenate([total[name] for total in totals]) for name in totals[0]}

    def compute(self, means: Totals) -> float:
        columns = zip(means["scores"].T, means["positive"].T, means["negative"].T, strict=True)
        areas = [_area(*column) for column in columns]
        counted = [area for area in areas if area is not None]
        return float(np.mean(counted)) if counted else np.nan


def _area(scores: Any, positive: Any, negative: Any) -> float | None:
    """The area under the ROC curve of one class, None if every sample is of it, or none.

    Each sample has one of its two weights in `positive` if it is of the class, else in `negative`.
    """
    if np.isnan(scores).any():
        return np.nan
    _, place = np.unique(scores, return_inverse=True)
    positive, negative = (np.bincount(place, weights=weight) for weight in (positive, negative))
    # Of two samples with the same score, each is higher half of the time.
    below = np.cumsum(negative) - negative / 2
    pairs = positive.sum() * negative.sum()
    return float((positive * below).sum() / pairs) if pairs > 0 else None


@dataclass(frozen=True)
class R2Score(Metric):
    """The share of the targets' variance that is explained: 1 - sum (t - y)^2 / sum (t - mean t)^2.

    With several outputs it is their mean. For a constant target it is 1 if every prediction is exact, else 0. It is
    `sklearn.metrics.r2_score`; nan where squares do not fit into the dtype.
    """

    name = "r2"
    higher_is_better = True
    target_kinds = ("value",)

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        prediction, target = _flat(xp, values(loss, xp, prediction)), _flat(xp, target)
        share = weight[:, None]
        total = xp.sum(weight)
        sums = xp.sum(share * target, axis=0)
        mean = sums / xp.where(total > 0, total, xp.ones_like(total))
        lowest = xp.min(xp.where(share > 0, target, xp.inf), axis=0)
        highest = xp.max(xp.where(share > 0, target, -xp.inf), axis=0)
        spread = xp.sum(share * (target - mean) ** 2, axis=0)
        return {
            "weight": total,
            "target": sums,
            "lowest": lowest,
            "highest": highest,
            # The mean of equal numbers may differ from them by rounding.
            "spread": xp.where(lowest < highest, spread, 0.0),
            "error": xp.sum(share * (target - prediction) ** 2, axis=0),
        }

    def reduce(self, totals: list[Totals]) -> Totals:
        """The sums, but the spread is that around the mean of all (Chan, Golub and LeVeque 1979)."""
        stacked = {name: np.stack([total[name] for total in totals]) for name in totals[0]}
        summed = {name: total.sum(axis=0) for name, total in stacked.items()}
        weight = stacked["weight"][:, None]
        means = stacked["target"] / np.where(weight > 0, weight, 1)
        mean = summed["target"] / np.where(summed["weight"] > 0, summed["weight"], 1)
        # The sum of squares less the square of the sum would cancel.
        summed["spread"] += (weight * (means - mean) ** 2).sum(axis=0)
        lost = (stacked["lowest"] < stacked["highest"]) & (stacked["spread"] == 0)
        summed["spread"][lost.any(axis=0)] = np.nan
        return summed | {"lowest": stacked["lowest"].min(axis=0), "highest": stacked["highest"].max(axis=0)}

    def compute(self, means: Totals) -> float:
        error, spread = means["error"], means["spread"]
        varies = means["lowest"] < means["highest"]
        fits = np.isfinite(spread) & (spread > 0)
        explained = 1 - np.divide(error, spread, out=np.full(error.shape, np.nan), where=varies & fits)
        exact = np.where(np.isnan(error), np.nan, error == 0)
        return float(np.mean(np.where(varies, explained, exact)))


@dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """The mean of |prediction - target| over samples and outputs."""

    name = "mae"
    higher_is_better = False
    target_kinds = ("value",)

    def update(self, xp: Namespace, loss: Loss, prediction: Array, target: Array, weight: Array) -> dict[str, Array]:
        error = xp.abs(_flat(xp, values(loss, xp, prediction) - target))
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
        error = _flat(xp, values(loss, xp, prediction) - target)
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
