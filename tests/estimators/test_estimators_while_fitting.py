"""Whoever looks on while an estimator is fitted, what goes wrong then, and threads."""

from __future__ import annotations

import copy
import io
import pickle
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
from chosen import BACKEND
from estimators.samples import THREE, TWO, VALUES, X, quick
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from anynet.backends import select
from anynet.errors import UsageError
from anynet.estimators import MLPClassifier, MLPRegressor
from anynet.training import Callback, EarlyStopping, Progress, StopTraining

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Once(Callback):
    """Does something in one method of a callback, after so many calls of it, and counts the calls of each."""

    METHODS = ("on_fit_begin", "on_batches_end", "on_epoch_end", "on_fit_end")

    def __init__(self, method: str, what: Any, after: int = 0) -> None:
        self.calls = dict.fromkeys(self.METHODS, 0)
        self.records: list[dict[str, float]] = []

        def tell(name: str, *arguments: Any) -> None:
            self.calls[name] += 1
            if name == "on_epoch_end":
                self.records.append(dict(arguments[1]))
            if name == method and self.calls[name] == after + 1:
                what()

        for name in self.METHODS:
            setattr(self, name, partial(tell, name))


def fail(error: BaseException) -> Any:
    def raising() -> None:
        raise error

    return raising


class TestCallbacks:
    SETTINGS: ClassVar[dict[str, Any]] = {"batch_size": 50, "max_iter": 5}

    def test_hear_of_each_epoch(self) -> None:
        said = io.StringIO()
        quick(MLPRegressor, max_iter=3).fit(X, VALUES, callbacks=[Progress(said)])
        starts = [line.partition(":")[0] for line in said.getvalue().splitlines()]
        assert starts == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]

    @pytest.mark.parametrize(
        ("method", "after", "epochs"),
        [
            ("on_fit_begin", 0, 0),
            ("on_batches_end", 2, 3),
            ("on_epoch_end", 1, 2),
            ("on_fit_end", 0, 5),
        ],
    )
    def test_may_stop_in_each_method(self, method: str, after: int, epochs: int) -> None:
        stopping, other = Once(method, fail(StopTraining()), after), Once("", None)
        m = quick(MLPRegressor, **self.SETTINGS).fit(X, VALUES, callbacks=[stopping, other])
        assert m.n_iter_ == len(m.loss_curve_) == epochs
        assert stopping.calls == other.calls
        assert other.calls["on_fit_end"] == 1

    def test_that_stop_in_the_middle_of_an_epoch_leave_no_record_of_it(self) -> None:
        # PyTorch's backend takes a batch at a time when it is told so; here one step is a stretch.
        m = quick(MLPRegressor, **self.SETTINGS)
        m._backend = lambda dtype: _one_step_at_a_time(select("numpy", dtype))
        stopping = Once("on_batches_end", fail(StopTraining()), after=4)
        m.fit(X, VALUES, callbacks=[stopping])
        assert (m.n_iter_, len(m.loss_curve_), stopping.calls["on_epoch_end"]) == (1, 1, 1)
        assert int(m._model.state.step) == 5

    @pytest.mark.parametrize("method", Once.METHODS)
    @pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()], ids=repr)
    @pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"warm_start": True}], ids=str)
    def test_that_fail_let_the_others_finish_and_leave_it_usable(
        self, settings: dict[str, Any], error: BaseException, method: str
    ) -> None:
        m = quick(MLPClassifier, **self.SETTINGS, **settings)
        failing, other = Once(method, fail(error)), Once("", None)
        with warnings.catch_warnings(), suppress(RuntimeError, KeyboardInterrupt):
            warnings.simplefilter("ignore")
            m.fit(X, THREE, callbacks=[failing, other])
        assert other.calls["on_fit_end"] == failing.calls["on_fit_end"] == 1
        assert m.predict(X).shape == (150,)
        assert pickle.loads(pickle.dumps(m)).classes_.tolist() == [0, 1, 2]
        assert np.isnan(m.loss_) == (not m.loss_curve_)
        fresh = quick(MLPClassifier, **self.SETTINGS, **settings).fit(X, THREE)
        np.testing.assert_array_equal(m.set_params(warm_start=False).fit(X, THREE).coefs_[0], fresh.coefs_[0])

    def test_a_signal_waits_until_the_batches_at_hand_are_done(self) -> None:
        def interrupt() -> None:
            signal.raise_signal(signal.SIGINT)
            seen.append("after it")

        seen: list[str] = []
        estimator = quick(MLPRegressor)
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            estimator.fit(X, VALUES, callbacks=[Once("on_batches_end", interrupt)])
        assert seen == ["after it"]
        assert np.isfinite(estimator.predict(X)).all()

    def test_interrupts_are_warned_of_as_scikit_learn_warns_where_fit_was_called(self) -> None:
        with pytest.warns(UserWarning, match=r"Training interrupted by user\.") as caught:
            quick(MLPRegressor).fit(X, VALUES, callbacks=[Once("on_epoch_end", fail(KeyboardInterrupt()))])
        assert caught[0].filename == __file__

    @pytest.mark.parametrize("monitor", ["val_loss", "val_score"])
    def test_early_stopping_of_training_works_here_too(self, monitor: str) -> None:
        stopping, seen = EarlyStopping(monitor, patience=2), Once("", None)
        m = quick(MLPClassifier, max_iter=400, learning_rate_init=0.05, tol=0.0)
        m.fit(X[:100], THREE[:100], X_val=X[100:], y_val=THREE[100:], callbacks=[stopping, seen])
        values = [record[monitor] for record in seen.records]
        assert len(values) < 400
        assert stopping.best == (max if monitor == "val_score" else min)(values)
        if monitor == "val_score":
            assert m.score(X[100:], THREE[100:]) == stopping.best

    def test_of_one_fit_serve_the_next(self) -> None:
        stopping = EarlyStopping("loss", patience=1)
        m = quick(MLPRegressor, max_iter=3)
        first = m.fit(X, VALUES, callbacks=[stopping]).predict(X)
        other = quick(MLPRegressor, max_iter=3, hidden_layer_sizes=(5,)).fit(X, VALUES, callbacks=[stopping])
        assert [array.shape for array in other.coefs_] == [(4, 5), (5, 1)]
        np.testing.assert_array_equal(m.predict(X), first)

    def test_cannot_fit_what_is_being_fitted(self) -> None:
        m = quick(MLPRegressor)
        with pytest.raises(UsageError, match="being fitted already, in a callback or in another thread: fit a clone"):
            m.fit(X, VALUES, callbacks=[Once("on_epoch_end", lambda: m.fit(X, VALUES))])
        assert m.fit(X, VALUES).n_iter_ == 30

    def test_may_clone_copy_pickle_and_predict_with_what_is_being_fitted(self) -> None:
        m = quick(MLPRegressor, **self.SETTINGS)
        made: list[Any] = []

        def look() -> None:
            made.extend([clone(m), copy.deepcopy(m), pickle.loads(pickle.dumps(m))])
            made.append(m.predict(X))

        expected = quick(MLPRegressor, **self.SETTINGS).fit(X, VALUES)
        m.fit(X, VALUES, callbacks=[Once("on_epoch_end", look)])
        np.testing.assert_array_equal(m.predict(X), expected.predict(X))
        np.testing.assert_array_equal(made[0].fit(X, VALUES).predict(X), expected.predict(X))
        for one in made[1:3]:
            # A copy computes on NumPy.
            np.testing.assert_allclose(one.predict(X), made[3], rtol=0 if BACKEND == "numpy" else 1e-12)
            np.testing.assert_array_equal(one.fit(X, VALUES).predict(X), expected.predict(X))


def _one_step_at_a_time(backend: Any) -> Any:
    backend.steps_at_once = 1
    return backend


class TestAFitThatFails:
    """Leaves an estimator as it was, in every attribute."""

    CALLS: ClassVar[dict[str, Any]] = {
        "y of another kind": lambda m: m.fit(X[:, :2], VALUES),
        "y with a mask": lambda m: m.fit(X[:, :2], np.ma.masked_equal(TWO, "no")),
        "weights of zero": lambda m: m.fit(X[:, :2], TWO, sample_weight=np.zeros(150)),
        "validation of other features": lambda m: m.fit(X[:, :2], TWO, X_val=X, y_val=TWO),
        "validation of other classes": lambda m: m.fit(X[:, :2], TWO, X_val=X[:, :2], y_val=THREE),
        "classes that cannot be held back": lambda m: m.set_params(early_stopping=True).fit(
            X[:21, :2], ["ham"] + ["spam"] * 20
        ),
        "a backend that is none": lambda m: m.set_params(backend="cuppy").fit(X[:, :2], TWO),
        "layers that cannot be": lambda m: m.set_params(hidden_layer_sizes=(0,)).fit(X[:, :2], TWO),
        "a little, of other features": lambda m: m.partial_fit(X[:, :2], THREE),
        "a little, of other classes": lambda m: m.partial_fit(X, TWO),
        "weights of classes there are not": lambda m: m.set_params(class_weight={"ham": 1}).fit(X[:, :2], TWO),
    }

    @pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
    def test_keeps_what_was_learned(self, call: Any) -> None:
        m = quick(MLPClassifier, max_iter=3).partial_fit(X, THREE, classes=[0, 1, 2])
        before, predicted = vars(m).copy(), m.predict_proba(X)
        curve = list(m.loss_curve_)
        with pytest.raises(ValueError):  # noqa: PT011
            call(m)
        parameters = m.get_params()
        assert {k: v for k, v in vars(m).items() if k not in parameters} == {
            k: v for k, v in before.items() if k not in parameters
        }
        assert m.loss_curve_ == curve
        np.testing.assert_array_equal(m.predict_proba(X), predicted)

    def test_leaves_one_that_was_never_fitted_unfitted(self) -> None:
        m = quick(MLPClassifier)
        before = vars(m).copy()
        for call in list(self.CALLS.values())[:4]:
            with pytest.raises(ValueError):  # noqa: PT011
                call(m)
            assert vars(m) == before


class TestThreads:
    @pytest.mark.backends("numpy", "torch", "jax")
    @pytest.mark.parametrize("settings", [{}, {"batch_norm": True}], ids=str)
    def test_may_predict_with_one_that_others_predict_with_and_pickle(
        self, settings: dict[str, Any], backend_name: str
    ) -> None:
        m = quick(MLPClassifier, max_iter=3, backend=backend_name, **settings).fit(X, THREE)
        expected = m.predict_proba(X)
        with ThreadPoolExecutor(3) as threads:
            found = [threads.submit(m.predict_proba, X) for _ in range(30)]
            copies = [threads.submit(lambda: pickle.loads(pickle.dumps(m))) for _ in range(10)]
        for result in found:
            np.testing.assert_array_equal(result.result(), expected)
        for one in copies:
            np.testing.assert_allclose(one.result().predict_proba(X), expected, rtol=1e-9)

    @pytest.mark.backends("numpy", "torch", "jax")
    @pytest.mark.parametrize("solver", ["adam", "lbfgs"])
    def test_fit_to_the_same_bytes_as_the_main_thread(self, solver: str, backend_name: str) -> None:
        x, y = np.tile(X, (4, 50)), np.tile(VALUES, 4)
        m = quick(MLPRegressor, max_iter=5, solver=solver, backend=backend_name)
        here = clone(m).fit(x, y).predict(x)
        with ThreadPoolExecutor(2) as threads:
            there = [threads.submit(clone(m).fit, x, y) for _ in range(2)]
        for one in there:
            np.testing.assert_array_equal(one.result().predict(x), here)

    def test_search_a_grid(self) -> None:
        grid = GridSearchCV(quick(MLPClassifier), {"hidden_layer_sizes": [(4,), (16,)]}, cv=3)
        one_by_one = clone(grid).fit(X, THREE)
        with joblib.parallel_backend("threading", n_jobs=4):
            at_once = clone(grid).fit(X, THREE)
        for name in ("mean_test_score", "std_test_score"):
            np.testing.assert_array_equal(at_once.cv_results_[name], one_by_one.cv_results_[name])
        np.testing.assert_array_equal(at_once.predict_proba(X), one_by_one.predict_proba(X))

    def test_of_two_that_fit_one_estimator_one_is_refused(self) -> None:
        m = quick(MLPRegressor)
        with ThreadPoolExecutor(1) as other:
            refused = []
            look = Once("on_epoch_end", lambda: refused.append(other.submit(m.fit, X, VALUES).exception()))
            m.fit(X, VALUES, callbacks=[look])
        assert "being fitted already" in str(refused[0])
        np.testing.assert_array_equal(m.predict(X), quick(MLPRegressor).fit(X, VALUES).predict(X))
