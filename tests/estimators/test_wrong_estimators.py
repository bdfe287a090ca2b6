"""What cannot be fitted, and what the estimators say to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimators.samples import THREE, TWO, VALUES, X
from sklearn.exceptions import NotFittedError

from anynet.errors import UsageError
from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor
from anynet.nn import SGD, CrossEntropyLoss, Linear, MSELoss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: MLPClassifier(solver="newton").fit(X, TWO),
            ValueError,
            "The 'solver' parameter of MLPClassifier",
        ),
        (lambda: MLPClassifier(alpha=-1).fit(X, TWO), ValueError, "The 'alpha' parameter"),
        (lambda: MLPClassifier(activation="swish").fit(X, TWO), ValueError, "activation must be a layer, or among"),
        (lambda: MLPClassifier((3, 3), activation=["tanh"]).fit(X, TWO), ValueError, "one for each of the 2 hidden"),
        (lambda: MLPClassifier((3, 0)).fit(X, TWO), ValueError, r"hidden_layer_sizes must be > 0, got \[3, 0\]"),
        (lambda: MLPClassifier(dropout=1.0).fit(X, TWO), ValueError, "The 'dropout' parameter"),
        (lambda: MLPClassifier(backend="cuppy").fit(X, TWO), ValueError, "did you mean 'cupy'"),
        (lambda: MLPClassifier().fit(X, TWO[:-1]), ValueError, "inconsistent numbers of samples"),
        (lambda: MLPClassifier().fit(X * np.nan, TWO), ValueError, "Input X contains NaN"),
        (lambda: MLPClassifier().fit(X, VALUES), ValueError, "Unknown label type"),
        (lambda: MLPClassifier().predict(X), NotFittedError, "is not fitted yet"),
        (
            lambda: MLPClassifier(max_iter=1).fit(X, TWO).predict(X[:, :2]),
            ValueError,
            "X has 2 features, but",
        ),
        (lambda: MLPClassifier().partial_fit(X, TWO), ValueError, "classes must be passed on the first call"),
        (lambda: MLPClassifier().partial_fit(X, TWO, classes=["no"]), ValueError, "`y` has classes not in"),
        (
            lambda: MLPClassifier(early_stopping=True).partial_fit(X, TWO, classes=["no", "yes"]),
            ValueError,
            "does not support",
        ),
        (
            lambda: MLPClassifier(early_stopping=True, validation_fraction=0.001).fit(X, THREE),
            ValueError,
            "validation set is too small",
        ),
        (
            lambda: MLPClassifier(class_weight="balanced").fit(X, np.eye(3, dtype=int)[THREE]),
            ValueError,
            "one class for each",
        ),
        (lambda: MLPRegressor(loss="huber").fit(X, VALUES), ValueError, "loss must be"),
        (lambda: MLPRegressor(loss="poisson").fit(X, VALUES), ValueError, "poisson.*0 or more"),
        (
            lambda: NetClassifier(Linear(5)).fit(X, THREE),
            UsageError,
            "a network of 3 outputs, but this one has 5",
        ),
        (lambda: NetClassifier(network=3).fit(X, THREE), UsageError, "network must be"),
        (lambda: NetRegressor(max_iter=0).fit(X, VALUES), ValueError, "The 'max_iter' parameter of NetRegressor"),
        (lambda: MLPRegressor(solver="lbfgs").partial_fit(X, VALUES), AttributeError, "no attribute 'partial_fit'"),
        (
            lambda: NetClassifier(loss=MSELoss(), max_iter=1).fit(X, THREE).predict_proba(X),
            AttributeError,
            "no attribute 'predict_proba'",
        ),
        (lambda: MLPClassifier(optimizer="adam").fit(X, TWO), ValueError, "optimizer must be one of anynet.nn"),
        (lambda: MLPClassifier(optimizer=SGD).fit(X, TWO), ValueError, "optimizer must be one of anynet.nn"),
        (lambda: MLPClassifier(loss="log_loss").fit(X, TWO), ValueError, "loss must be one of anynet.nn"),
        (lambda: NetRegressor(loss="mse").fit(X, VALUES), ValueError, "loss must be one of anynet.nn"),
        (lambda: MLPRegressor((8,)).fit(X, VALUES), ValueError, "loss must be"),
        (lambda: MLPRegressor(loss=CrossEntropyLoss()).fit(X, VALUES), ValueError, "tells classes apart"),
        (lambda: MLPRegressor(hidden_layer_sizes=(1.5,)).fit(X, VALUES), TypeError, "must be whole numbers"),
        (lambda: MLPClassifier(activation=Linear(3)).fit(X, TWO), ValueError, "without anything to train"),
        (lambda: NetRegressor(network=Linear).fit(X, VALUES), UsageError, "network must be a layer"),
        (lambda: MLPRegressor().fit(X, VALUES, callbacks=[3]), ValueError, "callbacks must hold callbacks"),
        (lambda: MLPRegressor().fit(X, VALUES, y_val=VALUES), ValueError, "X_val and y_val belong together"),
        (lambda: MLPClassifier(class_weight={"yess": 2}).fit(X, TWO), ValueError, r"The classes, \['yess'\], are not"),
        (lambda: MLPClassifier(class_weight={"yes": -2}).fit(X, TWO), ValueError, "finite numbers, 0 or more"),
        (lambda: MLPClassifier(class_weight={"yes": np.inf}).fit(X, TWO), ValueError, "finite numbers, 0 or more"),
        (lambda: MLPClassifier(class_weight={"yes": "2"}).fit(X, TWO), ValueError, "finite numbers, 0 or more"),
        (
            lambda: MLPRegressor(solver="lbfgs", dropout=0.1).fit(X, VALUES),
            ValueError,
            "lbfgs.* does not support dropout",
        ),
        (
            lambda: MLPRegressor(solver="lbfgs", batch_norm=True).fit(X, VALUES),
            ValueError,
            "does not support batch_norm",
        ),
        (lambda: MLPRegressor(solver="lbfgs", clip_norm=1).fit(X, VALUES), ValueError, "does not support clip_norm"),
        (lambda: MLPRegressor(solver="lbfgs", clip_value=1).fit(X, VALUES), ValueError, "does not support clip_value"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
