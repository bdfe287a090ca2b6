"""The estimators on every array library: all that comes out is of the library that went in."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from estimators.samples import THREE, TWO, VALUES, X, quick

from anynet.backends import select
from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier, NetRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

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
