"""What else is measured beside the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from anynet.errors import UsageError, unknown
from anynet.nn import Loss

Metric: TypeAlias = Callable[[Any, Any, Any, Any], Any]
_HIGHER_IS_BETTER = {"loss": False, "error": False, "accuracy": True, "score": True, "r2": True}


def higher_is_better(name: str, mode: str = "auto") -> bool:
    """Whether more of a measure is better.

    Parameters
    ----------
    name : str
        Such as ``val_loss``.
    mode : {"auto", "min", "max"}
        "auto" goes by the last word of the name: loss and error are better when lower, accuracy, score and r2 when
        higher.

    Raises
    ------
    UsageError
        When "auto" does not know the name, or there is no such mode.

    >>> higher_is_better("val_accuracy"), higher_is_better("rmse", mode="min")
    (True, False)
    """
    if mode not in ("auto", "min", "max"):
        raise UsageError(unknown("mode", mode, ("auto", "min", "max")))
    if mode != "auto":
        return mode == "max"
    last = str(name).rpartition("_")[2]
    if last not in _HIGHER_IS_BETTER:
        raise UsageError(f'{name!r} may be better when higher or when lower: give mode="min" or mode="max"')
    return _HIGHER_IS_BETTER[last]


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
