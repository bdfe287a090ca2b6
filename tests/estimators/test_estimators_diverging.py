"""Training that ends in no numbers, beside scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from estimators.pairs import SETTINGS, TARGETS, VALUES, X, pair

from anynet.estimators import MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIVERGING = {"at once": 1e30, "in the middle": 50.0, "never": 1e-3}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rate", DIVERGING.values(), ids=list(DIVERGING))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["values", "two classes", "three classes"])
@pytest.mark.parametrize("setting", ["sgd", "momentum", "Nesterov", "adam"])
@pytest.mark.parametrize("early_stopping", [True, False], ids=["early stopping", "to the end"])
def test_whatever_diverges_ends_as_it_does_in_scikit_learn(
    early_stopping: bool, setting: str, kind: str, dtype: str, rate: float
) -> None:
    settings = {**SETTINGS[setting], "learning_rate_init": rate, "early_stopping": early_stopping}
    theirs, ours = pair(kind, **settings, max_iter=6, n_iter_no_change=2, tol=1.0)
    ends = [_end(estimator, X.astype(dtype), TARGETS[kind]) for estimator in (theirs, ours)]
    assert ends[1] == ends[0]
    assert len(ours.loss_curve_) == len(theirs.loss_curve_) == ours.n_iter_ == theirs.n_iter_
    if early_stopping:
        found, expected = (np.isfinite(estimator.validation_scores_) for estimator in (ours, theirs))
        np.testing.assert_array_equal(found, expected)
    if not ends[0]:
        assert all(np.isfinite(array).all() for array in ours.coefs_ + ours.intercepts_)


def _end(estimator: Any, x: Any, y: Any) -> str:
    """The words of the error that training ends with, if there is one."""
    try:
        estimator.fit(x, y)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", ["values", "two classes"])
def test_inputs_beyond_float32_do_not_stop_early_stopping(kind: str) -> None:
    theirs, ours = (_end(e, 1e200 * X, TARGETS[kind]) for e in pair(kind, early_stopping=True, max_iter=3))
    assert ours == theirs


def test_lbfgs_that_finds_no_loss_says_so() -> None:
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        MLPRegressor(solver="lbfgs", random_state=0).fit((X * 1e30).astype(np.float32), VALUES * 1e30)


def test_early_stopping_gives_the_first_weights_back_where_no_epoch_has_a_score_29504() -> None:
    settings = {"solver": "sgd", "learning_rate_init": 1e300, "max_iter": 5, "early_stopping": True}
    ours = MLPRegressor(**settings, random_state=0).fit(X, VALUES)
    before = MLPRegressor(**{**settings, "learning_rate_init": 1e-300}, random_state=0).fit(X, VALUES)
    assert np.isnan(ours.validation_scores_).all()
    assert ours.n_iter_ == 5
    np.testing.assert_array_equal(ours.predict(X), before.predict(X))
