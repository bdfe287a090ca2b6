"""Converts fitted perceptrons from scikit-learn to anynet, and back."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from anynet.errors import UsageError
from anynet.estimators.array_library import ArrayLibrary, host
from anynet.estimators.mlp import MLPClassifier, MLPRegressor
from anynet.model import Model

_CURVES = ("n_iter_", "t_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")
_INPUTS = ("n_features_in_", "feature_names_in_")


def from_sklearn(theirs: TheirClassifier | TheirRegressor) -> MLPClassifier | MLPRegressor:
    """Convert a fitted perceptron of scikit-learn to one of anynet, with its parameters, weights and curves.

    The optimizer state is not converted.

    Raises
    ------
    UsageError
        When it is not a perceptron of scikit-learn.
    NotFittedError
        When it has not been fitted.

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = MLPClassifier(solver="lbfgs", tol=0.01, random_state=0).fit(X, y)
    >>> (from_sklearn(theirs).predict(X) == theirs.predict(X)).all()
    np.True_
    """
    if not isinstance(theirs, (TheirClassifier, TheirRegressor)):
        raise UsageError(f"from_sklearn takes scikit-learn's MLPClassifier or MLPRegressor, but got {theirs!r}")
    check_is_fitted(theirs)
    ours = (MLPClassifier if is_classifier(theirs) else MLPRegressor)(**theirs.get_params(deep=False))
    _copy(theirs, ours, (*_CURVES, *_INPUTS, "n_outputs_"))
    ours.validation_loss_curve_ = None
    if is_classifier(theirs):
        ours.classes_ = theirs.classes_
        ours._multilabel = theirs._label_binarizer.y_type_.startswith("multilabel")
    ours._library = ArrayLibrary("numpy")
    ours.out_activation_ = theirs.out_activation_
    ours._stalled = getattr(theirs, "_no_improvement_count", 0)
    inputs = (theirs.n_features_in_,)
    parts = ours._network(ours.n_outputs_), ours._loss(), ours._optimizer()
    backend = ours._backend(theirs.coefs_[0].dtype.name)
    ours._sample_shape = inputs
    ours._model = Model(*parts, backend=backend).build(inputs)
    ours._model.epoch = len(getattr(ours, "loss_curve_", ()))
    ours.coefs_, ours.intercepts_ = theirs.coefs_, theirs.intercepts_
    ours._made_of, ours._rate = ours._settings(), parts[-1].lr
    return ours


def to_sklearn(ours: MLPClassifier | MLPRegressor) -> TheirClassifier | TheirRegressor:
    """Convert a fitted perceptron of anynet to one of scikit-learn.

    Raises
    ------
    UsageError
        When it has what scikit-learn's lacks: normalisation, other losses, an activation for each layer.
    NotFittedError
        When it has not been fitted.
    """
    check_is_fitted(ours)
    if beyond := _beyond(ours):
        raise UsageError(f"scikit-learn's perceptron has no {beyond}, so this one cannot become one")
    theirs = (TheirClassifier if is_classifier(ours) else TheirRegressor)()
    theirs.set_params(
        **{name: value for name, value in ours.get_params(deep=False).items() if name in theirs.get_params()}
    )
    _copy(ours, theirs, (*_CURVES, *_INPUTS, "n_outputs_", "n_layers_", "out_activation_"))
    theirs.coefs_, theirs.intercepts_ = ([np.array(host(a)) for a in part] for part in (ours.coefs_, ours.intercepts_))
    theirs._best_coefs, theirs._best_intercepts = list(theirs.coefs_), list(theirs.intercepts_)
    theirs._no_improvement_count = getattr(ours, "_stalled", 0)
    if is_classifier(ours):
        theirs.classes_ = ours.classes_
        every = np.eye(len(ours.classes_), dtype=int) if ours._multilabel else ours.classes_
        theirs._label_binarizer = LabelBinarizer().fit(every)
    return theirs


def _beyond(ours: Any) -> str:
    if ours.batch_norm or ours.layer_norm:
        return "normalisation"
    if not isinstance(ours.activation, str):
        return f"activation {ours.activation!r}"
    return "" if ours.loss is None or isinstance(ours.loss, str) else f"loss {ours.loss!r}"


def _copy(source: Any, target: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if hasattr(source, name):
            setattr(target, name, copy.copy(getattr(source, name)))
