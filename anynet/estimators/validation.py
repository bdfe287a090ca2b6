"""Checks of an estimator's parameters and data, before anything changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from anynet.estimators.array_library import host
from anynet.training import Callback


def check_parts(estimator: Any, validation: Any, callbacks: tuple[Callback, ...]) -> None:
    """Raise a ValueError if a loss, optimizer or callback is invalid, or if L-BFGS cannot use a part."""
    for name, needs in (("loss", "target_kind"), ("optimizer", "update")):
        part = getattr(estimator, name)
        if part is not None and not isinstance(part, str) and (isinstance(part, type) or not hasattr(part, needs)):
            raise ValueError(f"{name} must be one of anynet.nn, made with its settings, but is {part!r}")
    if isinstance(estimator.optimizer, str):
        raise ValueError(f"optimizer must be one of anynet.nn, such as Adam(0.01), but is {estimator.optimizer!r}")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ValueError(f"callbacks must hold callbacks of anynet.training, but hold {callback!r}")
    if estimator._minimizes():
        beyond = {"X_val": validation, "callbacks": callbacks}
        beyond |= {name: getattr(estimator, name) for name in ("clip_norm", "clip_value", "dropout", "batch_norm")}
        if given := [name for name, value in beyond.items() if value]:
            raise ValueError(f"solver='lbfgs' takes all rows at once and does not support {given[0]}")


def check_data(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
    """Check X and y; return them as NumPy arrays, X dense. With `reset`, the estimator stores the columns of X."""
    x, y = validate_data(
        estimator,
        host(X),
        host(y),
        accept_sparse=["csr", "csc"],
        multi_output=True,
        y_numeric=estimator.__sklearn_tags__().estimator_type == "regressor",
        dtype=(np.float64, np.float32),
        allow_nd=estimator.allow_nd,
        reset=reset,
    )
    x = dense(x)
    if reset:
        estimator._sample_shape = x.shape[1:]
    elif x.shape[1:] != estimator._sample_shape:
        raise ValueError(f"X has samples of shape {x.shape[1:]}, but fit saw samples of {estimator._sample_shape}")
    return x, y


def check_weights(weight: Any, class_weight: Any) -> None:
    """Raise a ValueError if sample weights, multiplied by class weights, do not have a finite sum above 0."""
    if weight is not None and not 0 < weight.sum() < np.inf:
        by_class = f" (class_weight is {class_weight})" if class_weight else ""
        raise ValueError(
            f"the weights of all samples must have a finite sum above 0, but it is {weight.sum()}{by_class}"
        )


def dense(x: Any) -> Any:
    """A sparse matrix as an array; anything else as it is."""
    return x.toarray() if hasattr(x, "toarray") else x
