"""What else is measured beside the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from anynet.errors import UsageError, unknown
from anynet.nn import Loss
from anynet.nn.losses import TargetKind

Metric: TypeAlias = Callable[[Any, Any, Any, Any], Any]

_HIGHER_IS_BETTER = {
    "accuracy": True,
    "error": False,
    "loss": False,
    "r2": True,
    "root_mean_squared_error": False,
    "score": True,
}


def metrics_of(loss: Loss) -> dict[str, Metric]:
    """The metrics that make sense beside a loss: accuracy where it decides between classes.

    >>> from anynet.nn import CrossEntropyLoss, MSELoss
    >>> list(metrics_of(CrossEntropyLoss())), list(metrics_of(MSELoss()))
    (['accuracy'], [])
    """
    classify = getattr(loss, "classify", None)
    return {"accuracy": _accuracy(classify, loss.target_kind)} if classify else {}


def higher_is_better(name: str, mode: str = "auto") -> bool:
    """Whether a measure is better when it is higher.

    Parameters
    ----------
    name : str
        A key of the records of `fit`, with or without ``val_`` before it.
    mode : {"auto", "min", "max"}
        Whether the least or the most of it is wanted; by ``auto`` anynet's own measures are known.

    Raises
    ------
    UsageError
        When ``auto`` does not know the measure, or there is no such mode.

    >>> higher_is_better("val_loss"), higher_is_better("val_accuracy"), higher_is_better("perplexity", mode="min")
    (False, True, False)
    """
    if mode in ("min", "max"):
        return mode == "max"
    if mode != "auto":
        raise UsageError(unknown("mode", mode, ("auto", "min", "max")))
    known = _HIGHER_IS_BETTER.get(name.removeprefix("val_"))
    if known is None:
        raise UsageError(
            f'whether {name!r} is better when lower or when higher is not known: give mode="min" or mode="max"'
        )
    return known


def _accuracy(classify: Callable[[Any, Any], Any], target_kind: TargetKind) -> Metric:
    def accuracy(xp: Any, prediction: Any, target: Any, weight: Any) -> Any:
        # A target may be a probability: what counts is the side of a half that it is on.
        label = target if target_kind == "class" else xp.astype(target >= 0.5, xp.int32)
        right = classify(xp, prediction) == label
        right = xp.astype(xp.reshape(right, (right.shape[0], -1)), weight.dtype)
        return xp.sum(weight * xp.mean(right, axis=1))

    return accuracy
