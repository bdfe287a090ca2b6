"""The perceptrons beside scikit-learn's: the same steps, and the same words."""

from __future__ import annotations

import numpy as np
import pytest
from estimators.pairs import SETTINGS, TARGETS, VALUES, X, assert_alike, pair
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from anynet.estimators import MLPClassifier, MLPRegressor
from anynet.nn import SGD, LinearDecay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_twenty_epochs_are_those_of_scikit_learn(kind: str, setting: str) -> None:
    theirs, ours = (estimator.fit(X, TARGETS[kind]) for estimator in pair(kind, **SETTINGS[setting]))
    assert_alike(theirs, ours)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    if theirs.validation_scores_:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-9)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-9)
    if is_classifier(ours):
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7, atol=1e-10)
        np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-7, atol=1e-9)
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["two classes", "three classes", "several at once"])
def test_losses_without_end_are_told_as_scikit_learn_tells_them(kind: str) -> None:
    theirs, ours = (estimator.fit(1e3 * X, TARGETS[kind]) for estimator in pair(kind))
    assert theirs.loss_curve_[0] > 3
    # Theirs rounds a probability near 1 before it takes the logarithm of the rest.
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-3)


@pytest.mark.parametrize("kind", TARGETS)
def test_lbfgs_takes_the_same_thirty_steps(kind: str) -> None:
    """Hundreds of steps further, two roundings of one sum end in two of a network's many minima."""
    theirs, ours = (e.fit(X, TARGETS[kind]) for e in pair(kind, solver="lbfgs", max_iter=30, alpha=0.1))
    assert_alike(theirs, ours)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", TARGETS)
def test_lbfgs_ends_at_the_minimum_where_there_is_but_one(kind: str) -> None:
    convex = {"hidden_layer_sizes": (), "solver": "lbfgs", "max_iter": 500, "alpha": 0.1, "tol": 1e-8}
    assert_alike(*(estimator.fit(X, TARGETS[kind]) for estimator in pair(kind, **convex)), tolerance=1e-6)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_sample_weights_act_as_scikit_learn_has_them(kind: str, solver: str) -> None:
    weight = np.random.default_rng(2).uniform(0.1, 3, len(X))
    theirs, ours = (e.fit(X, TARGETS[kind], weight) for e in pair(kind, solver=solver, alpha=1.0, max_iter=8))
    assert_alike(theirs, ours, 1e-9 if solver != "lbfgs" else 1e-6)


@pytest.mark.parametrize("kind", TARGETS)
def test_partial_fit_goes_the_same_way(kind: str) -> None:
    theirs, ours = pair(kind, solver="sgd")
    y = TARGETS[kind]
    labels = np.arange(4) if kind == "several at once" else np.unique(y)
    classes = {"classes": labels} if is_classifier(ours) else {}
    for start in (0, 100, 0, 100):
        for estimator in (theirs, ours):
            estimator.partial_fit(X[start : start + 100], y[start : start + 100], **classes)
    assert_alike(theirs, ours)


def test_float32_is_kept_and_goes_the_same_way() -> None:
    theirs, ours = (e.fit(X.astype(np.float32), TARGETS["three classes"]) for e in pair("three classes"))
    assert all(
        array.dtype == np.float32
        for array in (*ours.coefs_, *ours.intercepts_, ours.predict_proba(X[:1].astype(np.float32)))
    )
    assert_alike(theirs, ours, 1e-4)


def test_ways_of_training_may_follow_each_other() -> None:
    ours = MLPRegressor(solver="lbfgs", max_iter=20, warm_start=True, random_state=0).fit(X, VALUES)
    before = ours.score(X, VALUES)
    ours.set_params(solver="adam").partial_fit(X, VALUES).partial_fit(X, VALUES)
    ours.set_params(early_stopping=True).fit(X, VALUES)
    assert len(ours.validation_scores_) == ours.n_iter_
    assert len(ours.loss_curve_) == 2 + ours.n_iter_
    assert ours.score(X, VALUES) > before - 0.05


def test_the_maximum_of_iterations_is_warned_of() -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        MLPClassifier(max_iter=3).fit(X, TARGETS["two classes"])
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge after"):
        MLPClassifier(max_iter=3, solver="lbfgs").fit(X, TARGETS["two classes"])


def test_a_schedule_moves_the_learning_rate() -> None:
    ours = MLPRegressor(optimizer=SGD(LinearDecay(0.01, 12)), max_iter=10, random_state=0, batch_size=50, alpha=0)
    ours.fit(X, VALUES)
    assert ours.loss_curve_[4] == pytest.approx(ours.loss_curve_[9], rel=0.02)


def test_partial_fit_adapts_the_learning_rate_and_knows_the_best_loss_as_scikit_learn_does() -> None:
    theirs, ours = pair("values", solver="sgd", learning_rate="adaptive", tol=0.5, n_iter_no_change=2)
    for _ in range(30):
        for estimator in (theirs, ours):
            estimator.partial_fit(X, VALUES)
    assert_alike(theirs, ours)
    assert ours._rate == pytest.approx(theirs._optimizer.learning_rate)
    assert ours.best_loss_ == pytest.approx(theirs.best_loss_)


def test_a_momentum_of_one_and_a_loss_beyond_all_numbers_are_taken_as_scikit_learn_takes_them() -> None:
    assert_alike(*(e.fit(X, VALUES) for e in pair("values", solver="sgd", momentum=1.0, learning_rate_init=1e-5)))
    assert pair("values")[1].fit(X.astype(np.float32), VALUES * 1e20).n_iter_ == 20


def test_one_epoch_is_warned_of_too() -> None:
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(1\)"):
        MLPRegressor(max_iter=1).fit(X, VALUES)


def test_what_is_printed_is_what_scikit_learn_prints(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.5, "n_iter_no_change": 2, "verbose": True}
    said = []
    for estimator in pair("values", **settings):
        estimator.fit(X, VALUES)
        said.append(capsys.readouterr().out)
    assert said[1] == said[0]
