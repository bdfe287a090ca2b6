"""What scikit-learn's perceptrons get wrong, and ours do not."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from estimators.pairs import TARGETS, VALUES, X, pair
from sklearn.base import clone
from sklearn.neural_network import MLPRegressor as TheirRegressor

from anynet.estimators import MLPClassifier, MLPRegressor
from anynet.nn import SGD

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
