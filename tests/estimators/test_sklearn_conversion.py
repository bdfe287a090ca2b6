"""A perceptron of scikit-learn's becomes one of ours, and one of ours becomes one of its."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimators.pairs import TARGETS, VALUES, X, pair
from sklearn.base import is_classifier

from anynet.errors import UsageError
from anynet.estimators import MLPRegressor, from_sklearn, to_sklearn
from anynet.nn import MSELoss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}])
def test_a_fitted_one_can_be_had_from_scikit_learn_and_given_back(kind: str, settings: dict[str, Any]) -> None:
    theirs = pair(kind, **settings)[0].fit(X, TARGETS[kind])
    ours = from_sklearn(theirs)
    again = to_sklearn(ours)
    assert {**again.get_params(), **theirs.get_params()} == again.get_params()
    predict = "predict_proba" if is_classifier(ours) else "predict"
    for one in (ours, again):
        np.testing.assert_allclose(getattr(one, predict)(X), getattr(theirs, predict)(X), rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(one.predict(X).shape, theirs.predict(X).shape)
        assert one.score(X, TARGETS[kind]) == pytest.approx(theirs.score(X, TARGETS[kind]))
    if settings.get("solver") != "lbfgs":
        again.partial_fit(X, TARGETS[kind])
        ours.partial_fit(X, TARGETS[kind])


def test_what_scikit_learn_cannot_do_does_not_become_one_of_its() -> None:
    for settings in ({"batch_norm": True}, {"activation": ["tanh"]}, {"loss": MSELoss()}):
        ours = MLPRegressor(**{"hidden_layer_sizes": (4,), "max_iter": 1, **settings}).fit(X, VALUES)
        with pytest.raises(UsageError, match="scikit-learn's perceptron has no"):
            to_sklearn(ours)
    with pytest.raises(UsageError, match=r"takes scikit-learn's MLPClassifier or MLPRegressor"):
        from_sklearn(ours)


def test_weights_can_be_set_and_a_change_in_place_that_would_be_lost_is_refused() -> None:
    ours = pair("values")[1].fit(X, VALUES)
    ours.coefs_ = [2 * array for array in ours.coefs_]
    ours.intercepts_ = [np.zeros_like(array) for array in ours.intercepts_]
    theirs = to_sklearn(ours)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12)
    with pytest.raises(ValueError, match="read-only"):
        ours.coefs_[0][:] = 0
    with pytest.raises(ValueError, match="expected 2 arrays of the shapes"):
        ours.coefs_ = ours.coefs_[:1]


def test_converted_ones_share_nothing() -> None:
    theirs = pair("values")[0].fit(X, VALUES)
    ours = from_sklearn(theirs)
    again = to_sklearn(ours.partial_fit(X, VALUES)).partial_fit(X, VALUES)
    assert [len(e.loss_curve_) for e in (theirs, ours, again)] == [20, 21, 22]
