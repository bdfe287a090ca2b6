"""The estimators as scikit-learn and its users see them: its own checks, its tools, and what goes beyond it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import sklearn
from estimators.samples import RANDOM, THREE, TWO, VALUES, X, quick
from sklearn.calibration import CalibratedClassifierCV
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from anynet.errors import UsageError
from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor
from anynet.nn import (
    SGD,
    Adam,
    BatchNorm,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Dropout,
    GaussianNLLLoss,
    LeakyReLU,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Tanh,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [MLPClassifier(), MLPRegressor(), NetClassifier(), NetRegressor()]


def arrays_of(check: Any) -> list[str]:
    """The backends, and PyTorch's devices, with whose arrays scikit-learn would try an estimator."""
    given = check.keywords
    pairs = [given[name] for name in ("X_ns_and_device", "other_ns_and_device") if name in given]
    if "array_namespace" in given:
        pairs.append((given["array_namespace"], given.get("device_name")))
    named = {"array_api_strict": "strict"}
    return [f"torch:{device}" if library == "torch" else named.get(library, library) for library, device in pairs]


def checks_of_scikit_learn() -> pytest.MarkDecorator:
    """All but those of arrays that cannot be made here: of CUDA, it only asks whether PyTorch was built for it."""
    every = parametrize_with_checks([estimator.set_params(max_iter=100) for estimator in ESTIMATORS])
    names, pairs = every.args
    marked = [
        pytest.param(estimator, check, marks=pytest.mark.needs(*arrays_of(check)))
        for estimator, check in pairs
        # Of classifiers that have such a method; scikit-learn's own perceptron has none either.
        if check.func.__name__ != "check_classifiers_multilabel_output_format_decision_function"
    ]
    return pytest.mark.parametrize(names, marked, **every.kwargs)


@pytest.mark.reads_values
@checks_of_scikit_learn()
def test_every_check_of_scikit_learn_holds(estimator: Any, check: Any) -> None:
    check(estimator)


def test_the_tools_of_scikit_learn_take_them() -> None:
    pipeline = make_pipeline(StandardScaler(), quick(MLPClassifier, learning_rate_init=0.02))
    grid = GridSearchCV(pipeline, {"mlpclassifier__hidden_layer_sizes": [(4,), (16,)]}, cv=3).fit(X, TWO)
    assert grid.best_score_ > 0.8
    assert cross_val_predict(pipeline, X, TWO, cv=3, method="predict_proba").shape == (150, 2)
    assert CalibratedClassifierCV(pipeline, cv=3).fit(X, TWO).score(X, TWO) > 0.8
    importances = permutation_importance(grid.best_estimator_, X, TWO, n_repeats=3, random_state=0).importances_mean
    assert importances.argmax() == 1
    scaled = make_pipeline(StandardScaler(), quick(NetRegressor)).set_output(transform="pandas").fit(X, VALUES)
    assert scaled[-1].feature_names_in_.tolist() == ["x0", "x1", "x2", "x3"]


def test_sample_weights_are_routed() -> None:
    weight = (TWO == "yes").astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, quick(MLPClassifier, max_iter=200).set_fit_request(sample_weight=True))
        assert (pipeline.fit(X, TWO, sample_weight=weight).predict(X) == "yes").all()


@pytest.mark.parametrize(
    "settings",
    [
        {"dropout": 0.3},
        {"batch_norm": True},
        {"layer_norm": True},
        {"activation": ["tanh", "relu"]},
        {"activation": LeakyReLU(0.1)},
        {"loss": MSELoss()},
        {"optimizer": SGD(0.05, momentum=0.9)},
        {"optimizer": Adam(0.01, weight_decay=0.01)},
        {"clip_norm": 0.1},
        {"clip_value": 0.1},
    ],
    ids=str,
)
def test_what_goes_beyond_scikit_learn_trains_and_is_repeatable(settings: dict[str, Any]) -> None:
    both = [
        quick(MLPRegressor, hidden_layer_sizes=(20, 10), learning_rate_init=0.01, max_iter=100, **settings)
        for _ in range(2)
    ]
    for estimator in both:
        estimator.fit(X, VALUES)
    assert both[0].score(X, VALUES) > 0.9
    np.testing.assert_array_equal(both[0].predict(X), both[1].predict(X))
    again = pickle.loads(pickle.dumps(both[0]))
    np.testing.assert_allclose(again.predict(X), both[0].predict(X), rtol=1e-12)


@pytest.mark.parametrize(("limit", "measured"), [("clip_norm", np.linalg.norm), ("clip_value", lambda x: abs(x).max())])
def test_a_gradient_beyond_a_limit_is_clipped_to_it(limit: str, measured: Any) -> None:
    settings: dict[str, Any] = {
        "solver": "sgd",
        "momentum": 0.0,
        "learning_rate_init": 1.0,
        "batch_size": 150,
        "alpha": 0,
    }
    start = quick(MLPRegressor, max_iter=1, **{**settings, "learning_rate_init": 1e-300}).fit(X, 1e3 * VALUES)
    clipped = quick(MLPRegressor, max_iter=1, **{limit: 0.01}, **settings).fit(X, 1e3 * VALUES)
    moved = [
        a - b
        for a, b in zip(clipped._learned("weight") + clipped.intercepts_, start.coefs_ + start.intercepts_, strict=True)
    ]
    assert measured(np.concatenate([step.ravel() for step in moved])) == pytest.approx(0.01, rel=1e-4)


def test_rows_given_for_validation_are_measured_and_decide_when_to_stop() -> None:
    held_out = {"X_val": X[100:], "y_val": THREE[100:]}
    plain = quick(MLPClassifier, max_iter=12).fit(X[:100], THREE[:100], **held_out)
    assert len(plain.validation_scores_) == len(plain.validation_loss_curve_) == plain.n_iter_ == 12
    assert plain.validation_scores_[-1] == plain.score(X[100:], THREE[100:])
    without = quick(MLPClassifier, max_iter=12).fit(X[:100], THREE[:100])
    np.testing.assert_array_equal(plain.predict_proba(X), without.predict_proba(X))
    assert without.validation_scores_ is None
    stopped = quick(MLPClassifier, max_iter=500, early_stopping=True).fit(X[:100], THREE[:100], **held_out)
    assert stopped.n_iter_ < 500
    assert stopped.score(X[100:], THREE[100:]) == stopped.best_validation_score_ == max(stopped.validation_scores_)


def test_a_network_of_ones_own_has_one_or_two_outputs_for_two_classes() -> None:
    body = (Linear(16), BatchNorm(), ReLU(), Dropout(0.1))
    for outputs in (1, 2):
        net = NetClassifier(Sequential(*body, Linear(outputs)), optimizer=Adam(0.01), random_state=0).fit(X, TWO)
        assert net.score(X, TWO) > 0.9
        assert net.predict_proba(X).shape == (150, 2)
    made = NetClassifier(
        lambda outputs: Sequential(Linear(8), Tanh(), Linear(outputs)), optimizer=Adam(0.01), random_state=0
    )
    assert made.fit(X, THREE).score(X, THREE) > 0.9
    of_each = NetClassifier(
        Sequential(Linear(16), ReLU(), Linear(3)), loss=BCEWithLogitsLoss(), optimizer=Adam(0.01), random_state=0
    )
    assert of_each.fit(X, THREE).score(X, THREE) > 0.85
    columns = np.column_stack([VALUES, X[:, 0]])
    values = NetRegressor(Sequential(Linear(32), Tanh(), Linear(2)), optimizer=Adam(0.01), random_state=0)
    assert values.fit(X, columns).predict(X).shape == (150, 2)
    assert values.score(X, columns) > 0.9


def test_a_network_that_gives_means_and_variances_predicts_and_is_scored_by_the_means() -> None:
    both = NetRegressor(
        Sequential(Linear(32), Tanh(), Linear(4)), loss=GaussianNLLLoss(), optimizer=Adam(0.01), random_state=0
    )
    y = np.stack([VALUES, -VALUES], axis=1)
    assert both.fit(X, y).predict(X).shape == y.shape
    assert both.score(X, y) > 0.5
    with pytest.raises(UsageError, match="y needs a network of 2 outputs, but this one has 4"):
        both.fit(X, VALUES)


def test_a_loss_of_one_class_in_each_row_learns_two_classes_too() -> None:
    for m in (MLPClassifier((16,), loss=CrossEntropyLoss()), NetClassifier(loss=CrossEntropyLoss())):
        m.set_params(optimizer=Adam(0.02), random_state=0).fit(X, TWO)
        assert m.score(X, TWO) > 0.95
        assert m.predict_proba(X).shape == (150, 2)


def test_probabilities_sum_to_one_whatever_the_loss() -> None:
    m = quick(MLPClassifier, loss=BCEWithLogitsLoss()).fit(X, THREE)
    np.testing.assert_allclose(m.predict_proba(X).sum(axis=1), 1)
    assert m.out_activation_ == "logistic"
    assert not hasattr(NetClassifier(loss=MSELoss()), "predict_proba")


def test_a_last_batch_of_one_row_does_no_harm_to_batch_norm() -> None:
    x = RANDOM.normal(size=(201, 4)) + 3
    y = x.sum(axis=1) - 12
    m = MLPRegressor(batch_norm=True, max_iter=300, learning_rate_init=0.01, random_state=0).fit(x, y)
    assert m.score(x, y) > 0.9


def test_two_classes_are_held_out_in_their_shares_whatever_the_outputs() -> None:
    rare = (np.arange(100) < 8).astype(int)
    for outputs in (1, 2):
        m = NetClassifier(Sequential(Linear(outputs)), early_stopping=True, validation_fraction=0.25, max_iter=1)
        for seed in range(5):
            seen = []
            m._score = lambda outputs, target, weight, seen=seen: seen.append(int(np.sum(target))) or 0.0
            m.set_params(random_state=seed).fit(X[:100], rare)
            assert seen == [2]
