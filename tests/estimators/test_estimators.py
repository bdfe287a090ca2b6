"""The estimators as scikit-learn and its users see them: its own checks, its tools, and what goes beyond it."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from anynet.backends import select
from anynet.errors import UsageError
from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor
from anynet.nn import (
    SGD,
    Adam,
    BatchNorm,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    Dropout,
    LeakyReLU,
    Linear,
    MSELoss,
    ReLU,
    Sequential,
    Tanh,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(150, 4))
VALUES = X @ np.asarray([1.0, -2.0, 0.5, 0.0])
TWO = np.asarray(["no", "yes"])[(VALUES > 0).astype(int)]
THREE = np.digitize(VALUES, [-1, 1])
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


def quick(estimator: type, **settings: Any) -> Any:
    return estimator(**{"max_iter": 30, "random_state": 0, **settings})


LIBRARIES = pytest.mark.backends("numpy", "torch", "jax", "strict")


@pytest.mark.reads_values
@LIBRARIES
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [MLPClassifier, NetClassifier, MLPRegressor, NetRegressor])
def test_everything_follows_x(backend_name: str, dtype: str, kind: type) -> None:
    backend = select(backend_name, dtype)
    y = THREE if "Classifier" in kind.__name__ else VALUES
    x = backend.asarray(X.astype(dtype))
    fitted = quick(kind).fit(x, y)
    expected = quick(kind).fit(X.astype(dtype), y)
    assert fitted._model.backend.name == backend_name
    tolerance = 1e-9 if dtype == "float64" else 2e-3
    for method in ("predict", "predict_proba"):
        if not hasattr(fitted, method):
            continue
        result = getattr(fitted, method)(x)
        assert type(result) is type(x)
        assert str(result.device) == str(x.device)
        found, wanted = backend.to_numpy(result), getattr(expected, method)(X.astype(dtype))
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    if hasattr(fitted, "coefs_"):
        assert all(type(array) is type(x) for array in fitted.coefs_ + fitted.intercepts_)
    if backend_name != "numpy":
        with pytest.raises(ValueError, match="must use the same namespace"):
            fitted.predict(X)


@pytest.mark.backends("torch", "jax")
def test_a_backend_that_is_named_computes_and_gives_back_what_came_in(backend_name: str) -> None:
    fitted = quick(MLPClassifier, backend=backend_name).fit(X, TWO)
    assert fitted._model.backend.name == backend_name
    assert type(fitted.predict_proba(X)) is np.ndarray
    np.testing.assert_allclose(fitted.predict_proba(X), quick(MLPClassifier).fit(X, TWO).predict_proba(X), rtol=1e-9)


@pytest.mark.backends("torch", "jax")
def test_a_pickle_opens_and_trains_on_where_only_numpy_is(backend_name: str) -> None:
    x = select(backend_name, "float64").asarray(X)
    fitted = quick(MLPClassifier).partial_fit(x, THREE, classes=[0, 1, 2])
    again = pickle.loads(pickle.dumps(fitted))
    assert backend_name.encode() not in pickle.dumps(fitted)
    np.testing.assert_array_equal(again.predict(X), np.asarray(fitted.predict(x)))
    fitted.partial_fit(x, THREE)
    again.partial_fit(X, THREE)
    np.testing.assert_allclose(again.coefs_[0], np.asarray(fitted.coefs_[0]), rtol=1e-9)


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


def test_a_gradient_longer_than_clip_norm_is_scaled_down_to_it() -> None:
    settings: dict[str, Any] = {
        "solver": "sgd",
        "momentum": 0.0,
        "learning_rate_init": 1.0,
        "batch_size": 150,
        "alpha": 0,
    }
    start = quick(MLPRegressor, max_iter=1, **{**settings, "learning_rate_init": 1e-300}).fit(X, 1e3 * VALUES)
    clipped = quick(MLPRegressor, max_iter=1, clip_norm=0.01, **settings).fit(X, 1e3 * VALUES)
    moved = [
        a - b
        for a, b in zip(clipped._learned("weight") + clipped.intercepts_, start.coefs_ + start.intercepts_, strict=True)
    ]
    assert np.sqrt(sum((step**2).sum() for step in moved)) == pytest.approx(0.01, rel=1e-4)


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
        (lambda: MLPRegressor(solver="lbfgs", dropout=0.1).fit(X, VALUES), ValueError, "lbfgs.* knows no dropout"),
        (lambda: MLPRegressor(solver="lbfgs", batch_norm=True).fit(X, VALUES), ValueError, "knows no batch_norm"),
        (lambda: MLPRegressor(solver="lbfgs", clip_norm=1).fit(X, VALUES), ValueError, "knows no clip_norm"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_lbfgs_keeps_its_loss_where_the_warning_that_it_has_not_converged_is_an_error() -> None:
    estimator = MLPRegressor(solver="lbfgs", max_iter=2, random_state=0)
    words = "lbfgs failed to converge after 2 iteration"
    with warnings.catch_warnings(action="error"), pytest.raises(ConvergenceWarning, match=words):
        estimator.fit(X, VALUES)
    assert estimator.n_iter_ == 2
    assert estimator.loss_ > 0


@pytest.mark.reads_values
@LIBRARIES
@pytest.mark.parametrize(
    "settings",
    [{"early_stopping": True, "batch_norm": True}, {"solver": "lbfgs"}, {"warm_start": True}, {"dropout": 0.2}],
    ids=str,
)
def test_every_way_of_training_works_on_every_library(backend_name: str, settings: dict[str, Any]) -> None:
    backend = select(backend_name, "float64")
    fitted, expected = (
        quick(MLPClassifier, learning_rate_init=0.02, **settings).fit(x, THREE).fit(x, THREE)
        for x in (backend.asarray(X), X)
    )
    pickle.dumps(fitted)
    found = backend.to_numpy(fitted.predict_proba(backend.asarray(X)))
    np.testing.assert_allclose(found, expected.predict_proba(X), rtol=1e-4, atol=1e-6)


class TestWhatWasLearnedStays:
    def test_when_a_layer_without_weights_comes_or_goes(self) -> None:
        m = quick(MLPRegressor, hidden_layer_sizes=(8, 8), max_iter=5).fit(X, VALUES)
        before = m.coefs_
        for settings in ({"dropout": 0.2}, {"dropout": 0.0, "activation": "identity"}, {"batch_norm": True}):
            m.set_params(learning_rate_init=1e-300, alpha=0, **settings).partial_fit(X, VALUES)
            for array, old in zip(m.coefs_, before, strict=True):
                np.testing.assert_allclose(array, old, rtol=1e-9)

    def test_and_other_sizes_are_refused(self) -> None:
        m = quick(MLPRegressor, hidden_layer_sizes=(8,), warm_start=True, max_iter=2).fit(X, VALUES)
        for sizes in ((5,), (8, 1)):
            with pytest.raises(ValueError, match="the network now needs a weight of each of the shapes"):
                m.set_params(hidden_layer_sizes=sizes).fit(X, VALUES)

    def test_and_is_told_whatever_the_parameters_are_now(self) -> None:
        m = quick(MLPRegressor, hidden_layer_sizes=(8,), max_iter=3).fit(X, VALUES)
        before = m.predict(X)
        m.set_params(loss="poisson", hidden_layer_sizes=(5, 5), batch_norm=True)
        np.testing.assert_array_equal(m.predict(X), before)
        assert [array.shape for array in m.coefs_] == [(4, 8), (8, 1)]
        assert (m.n_layers_, m.out_activation_) == (3, "identity")

    def test_by_a_warm_start_that_finds_nothing_better(self) -> None:
        held_out = {"X_val": X[100:], "y_val": THREE[100:]}
        m = quick(MLPClassifier, early_stopping=True, warm_start=True, max_iter=200, learning_rate_init=0.02)
        best = m.fit(X[:100], THREE[:100], **held_out).best_validation_score_
        m.set_params(learning_rate_init=10.0, max_iter=3).fit(X[:100], THREE[:100], **held_out)
        assert m.score(X[100:], THREE[100:]) >= best

    def test_by_partial_fit_with_a_network_that_is_made_anew(self) -> None:
        m = NetRegressor(lambda outputs: Sequential(Linear(4), Tanh(), Linear(outputs)), random_state=0)
        for _ in range(4):
            m.partial_fit(X, VALUES)
        assert int(m._model.state.step) == 4

    @pytest.mark.needs("torch")
    def test_in_a_deep_copy_on_the_same_library(self) -> None:
        import torch

        x = torch.asarray(X)
        m = quick(MLPRegressor, max_iter=3).fit(x, VALUES)
        assert torch.equal(copy.deepcopy(m).predict(x), m.predict(x))


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


def test_a_fitted_one_keeps_no_memory_that_its_training_needed() -> None:
    m = quick(MLPRegressor, hidden_layer_sizes=(300,), max_iter=2, backend="numpy").fit(X, VALUES)
    assert not m._model.backend._known
    assert not hasattr(m, "_step")


def test_two_classes_are_held_out_in_their_shares_whatever_the_outputs() -> None:
    rare = (np.arange(100) < 8).astype(int)
    for outputs in (1, 2):
        m = NetClassifier(Sequential(Linear(outputs)), early_stopping=True, validation_fraction=0.25, max_iter=1)
        for seed in range(5):
            seen = []
            m._score = lambda outputs, target, weight, seen=seen: seen.append(int(np.sum(target))) or 0.0
            m.set_params(random_state=seed).fit(X[:100], rare)
            assert seen == [2]


def test_classes_that_were_announced_are_not_forgotten_when_a_call_fails() -> None:
    m = MLPClassifier()
    with pytest.raises(ValueError, match=r"inconsistent|shape"):
        m.partial_fit(X, THREE, sample_weight=np.ones(3), classes=[0, 1, 2])
    m.partial_fit(X[:5], np.zeros(5, int))
    assert m.classes_.tolist() == [0, 1, 2]
