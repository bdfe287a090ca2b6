"""What an estimator has learned stays, until it learns more."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from estimators.samples import THREE, VALUES, X, quick
from sklearn.exceptions import ConvergenceWarning

from anynet.estimators import MLPClassifier, MLPRegressor, NetRegressor
from anynet.nn import Linear, Sequential, Tanh

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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


def test_lbfgs_keeps_its_loss_where_the_warning_that_it_has_not_converged_is_an_error() -> None:
    estimator = MLPRegressor(solver="lbfgs", max_iter=2, random_state=0)
    words = "lbfgs failed to converge after 2 iteration"
    with warnings.catch_warnings(action="error"), pytest.raises(ConvergenceWarning, match=words):
        estimator.fit(X, VALUES)
    assert estimator.n_iter_ == 2
    assert estimator.loss_ > 0


def test_a_fitted_one_keeps_no_memory_that_its_training_needed() -> None:
    m = quick(MLPRegressor, hidden_layer_sizes=(300,), max_iter=2, backend="numpy").fit(X, VALUES)
    assert not m._model.backend._known
    assert not hasattr(m, "_step")


def test_classes_that_were_announced_are_not_forgotten_when_a_call_fails() -> None:
    m = MLPClassifier()
    with pytest.raises(ValueError, match=r"inconsistent|shape"):
        m.partial_fit(X, THREE, sample_weight=np.ones(3), classes=[0, 1, 2])
    m.partial_fit(X[:5], np.zeros(5, int))
    assert m.classes_.tolist() == [0, 1, 2]
