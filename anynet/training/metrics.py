"""What else is measured beside the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from anynet.nn import Loss

Metric: TypeAlias = Callable[[Any, Any, Any, Any], Any]


def metrics_of(loss: Loss) -> dict[str, Metric]:
    """The metrics that make sense beside a loss: accuracy where it decides between classes.

    >>> from anynet.nn import CrossEntropyLoss, MSELoss
    >>> list(metrics_of(CrossEntropyLoss())), list(metrics_of(MSELoss()))
    (['accuracy'], [])
    """
    classify = getattr(loss, "classify", None)
    return {"accuracy": _accuracy(classify, loss.target_kind)} if classify else {}


def _accuracy(classify: Callable[[Any, Any], Any], target_kind: str) -> Metric:
    def accuracy(xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        # A target may be a probability: what counts is the side of a half that it is on.
        label = target if target_kind == "class" else xp.astype(target >= 0.5, xp.int32)
        right = classify(xp, prediction) == label
        right = xp.astype(xp.reshape(right, (right.shape[0], -1)), weight.dtype)
        return xp.sum(weight * xp.mean(right, axis=1))

    return accuracy
