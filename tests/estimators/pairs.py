"""Scikit-learn's perceptrons and ours, of the same settings, with data for both."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import make_multilabel_classification
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from anynet.estimators import MLPClassifier, MLPRegressor

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(230, 6))
VALUES = X @ RANDOM.normal(size=6) + 0.1 * RANDOM.normal(size=230)
TARGETS = {
    "two classes": np.asarray(["no", "yes"])[(VALUES > 0).astype(int)],
    "three classes": np.digitize(VALUES, [-1, 1]),
    "several at once": make_multilabel_classification(230, 6, n_classes=4, random_state=0)[1],
    "values": VALUES,
    "counts": RANDOM.poisson(np.exp(np.clip(VALUES, -2, 2))).astype(float),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"solver": "sgd", "momentum": 0.0},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False},
    "Nesterov": {"solver": "sgd"},
    "adam": {"solver": "adam"},
    "inverse scaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3},
    "two layers, strong penalty": {"hidden_layer_sizes": (9, 5), "activation": "tanh", "alpha": 1.0},
    "logistic, in order": {"activation": "logistic", "shuffle": False, "batch_size": 32},
}


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    settings = {"hidden_layer_sizes": (12,), "max_iter": 20, "random_state": 1, "batch_size": 64, **settings}
    if kind in ("values", "counts"):
        loss = "poisson" if kind == "counts" else "squared_error"
        return TheirRegressor(loss=loss, **settings), MLPRegressor(loss=loss, **settings)
    return TheirClassifier(**settings), MLPClassifier(**settings)


def assert_alike(theirs: Any, ours: Any, tolerance: float = 1e-9) -> None:
    for their_array, our_array in zip(theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_, strict=True):
        np.testing.assert_allclose(our_array, their_array, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=tolerance)
    assert (ours.n_iter_, ours.t_, ours.n_layers_, ours.n_outputs_, ours.out_activation_) == (
        theirs.n_iter_,
        theirs.t_,
        theirs.n_layers_,
        theirs.n_outputs_,
        theirs.out_activation_,
    )
