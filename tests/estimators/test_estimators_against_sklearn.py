"""The perceptrons beside scikit-learn's: the same steps where it is right, and what it gets wrong."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from anynet.errors import UsageError
from anynet.estimators import MLPClassifier, MLPRegressor, from_sklearn, to_sklearn
from anynet.nn import SGD, LinearDecay, MSELoss

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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


class TestWhatScikitLearnGetsWrong:
    """By the numbers of its issues."""

    def test_partial_fit_after_unpickling_goes_on_19626(self) -> None:
        ours = pair("values", solver="adam")[1].partial_fit(X, VALUES)
        again = pickle.loads(pickle.dumps(ours))
        for _ in range(3):
            ours.partial_fit(X, VALUES)
            again.partial_fit(X, VALUES)
        np.testing.assert_allclose(again.loss_curve_, ours.loss_curve_, rtol=1e-9)
        assert again.loss_curve_[-1] < again.loss_curve_[0]

    def test_pickles_do_not_grow_19959(self) -> None:
        ours = pair("values", early_stopping=True)[1]
        sizes = [len(pickle.dumps(ours.fit(X, VALUES))) for _ in range(3)]
        assert max(sizes) - min(sizes) < 100
        weights = sum(array.nbytes for array in ours.coefs_ + ours.intercepts_)
        # Weights and Adam's two means of them.
        assert sizes[-1] < 3 * weights + 4000

    def test_early_stopping_takes_labels_that_are_text_33760(self) -> None:
        for kind in ("two classes", "three classes"):
            y = TARGETS[kind].astype(str).astype(object)
            ours = pair(kind, early_stopping=True)[1].fit(X, y)
            assert ours.best_validation_score_ == max(ours.validation_scores_)
            assert set(ours.predict(X)) <= set(y)

    def test_warm_start_trains_until_nothing_is_gained_again_12605(self) -> None:
        ours = MLPRegressor(max_iter=500, warm_start=True, n_iter_no_change=5, tol=1e-3, random_state=0)
        ours.fit(X, VALUES)
        assert ours.n_iter_ < 500
        ours.fit(X, VALUES)
        assert ours.n_iter_ > 5

    def test_the_best_weights_come_back_when_the_epochs_run_out(self) -> None:
        ours = MLPClassifier(max_iter=25, early_stopping=True, n_iter_no_change=100, random_state=0, solver="sgd",
                             learning_rate_init=3.0, momentum=0.99)  # fmt: skip
        held_out = X[:60], TARGETS["three classes"][:60]
        ours.fit(X[60:], TARGETS["three classes"][60:], X_val=held_out[0], y_val=held_out[1])
        assert len(ours.validation_scores_) == 25
        assert ours.score(*held_out) == ours.best_validation_score_ == max(ours.validation_scores_)
        assert ours.validation_scores_[-1] < ours.best_validation_score_

    def test_the_loss_of_several_outputs_is_what_the_gradient_belongs_to_8349(self) -> None:
        y = np.column_stack([VALUES, -VALUES, 2 * VALUES])
        rate = 1e-6
        ours = MLPRegressor(solver="sgd", momentum=0.0, learning_rate_init=rate, batch_size=len(X), alpha=0.5,
                            max_iter=2, shuffle=False, random_state=0)  # fmt: skip
        before = clone(ours).set_params(max_iter=1).fit(X, y)
        after = ours.fit(X, y)
        first = clone(ours).set_params(max_iter=1, learning_rate_init=1e-300).fit(X, y)
        moved = [
            a - b for a, b in zip(before.coefs_ + before.intercepts_, first.coefs_ + first.intercepts_, strict=True)
        ]
        slope = sum(float((step * step).sum()) for step in moved) / rate
        assert after.loss_curve_[0] - after.loss_curve_[1] == pytest.approx(slope, rel=1e-3)

    def test_a_penalty_that_does_not_depend_on_the_size_of_the_batch_can_be_had_6780(self) -> None:
        norms = []
        for batch_size in (10, 230):
            steps = 10 if batch_size == 230 else 10 * 230 // batch_size
            ours = MLPRegressor(optimizer=SGD(1e-9, weight_decay=1e7), alpha=0.0, batch_size=batch_size, max_iter=1,
                                random_state=0)  # fmt: skip
            for _ in range(10 if batch_size == 230 else 1):
                ours.partial_fit(X, VALUES)
            norms.append((np.linalg.norm(ours.coefs_[0]), steps))
        first = np.linalg.norm(
            TheirRegressor(random_state=0, max_iter=1, learning_rate_init=1e-300).fit(X, VALUES).coefs_[0]
        )
        shrunk = [np.log(norm / first) / (10 if steps == 10 else 23) for norm, steps in norms]
        np.testing.assert_allclose(shrunk, np.log(0.99), rtol=1e-3)


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
