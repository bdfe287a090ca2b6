"""Estimators that many ranks train together: scikit-learn's numbers, as on one process."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import scale

from anynet.distributed import Communicator, run_threads
from anynet.errors import RankError, UsageError
from anynet.estimators import MLPClassifier, MLPRegressor, NetClassifier

pytestmark = [pytest.mark.host, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]

CLASSES = load_breast_cancer(return_X_y=True)
VALUES = load_diabetes(return_X_y=True)
CASES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "Adam": (MLPClassifier, TheirClassifier, CLASSES, {}),
    "SGD, momentum and held-out rows": (
        *(MLPClassifier, TheirClassifier, CLASSES),
        {"solver": "sgd", "learning_rate": "adaptive", "early_stopping": True, "batch_size": 64},
    ),
    "values": (MLPRegressor, TheirRegressor, VALUES, {"alpha": 0.1}),
    "L-BFGS": (MLPRegressor, TheirRegressor, VALUES, {"solver": "lbfgs"}),
}


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("case", CASES)
def test_ranks_train_an_estimator_to_the_numbers_of_scikit_learn(case: str, ranks: int) -> None:
    ours, theirs, (X, y), options = CASES[case]
    X = scale(X)
    given = {"max_iter": 10, "hidden_layer_sizes": (16, 8), "random_state": 0, **options}
    expected = theirs(**given).fit(X, y)

    def work(comm: Communicator) -> tuple[Any, Any]:
        fitted = ours(**given, comm=comm).fit(X, y)
        return fitted, fitted.predict(X)

    found = run_threads(ranks, work)
    for fitted, predicted in found:
        for mine, their in zip(fitted.coefs_, expected.coefs_, strict=True):
            np.testing.assert_allclose(mine, their, rtol=0, atol=1e-9)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(fitted.coefs_, found[0][0].coefs_, strict=True))
        assert fitted.n_iter_ == expected.n_iter_
        np.testing.assert_allclose(predicted, expected.predict(X), rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_ranks_that_would_draw_other_numbers_are_refused(solver: str) -> None:
    with pytest.raises(UsageError, match="rank 1 differs from rank 0 in random_state: "):
        run_threads(
            2, lambda comm: MLPClassifier(solver=solver, max_iter=1, comm=comm, random_state=comm.rank).fit(*CLASSES)
        )


def test_data_that_one_rank_cannot_take_end_all() -> None:
    def work(comm: Communicator) -> Any:
        X = np.where(comm.rank, np.nan, CLASSES[0])
        return MLPClassifier(max_iter=1, comm=comm, random_state=0).fit(X, CLASSES[1])

    with pytest.raises((ValueError, RankError)):
        run_threads(2, work)


def test_a_batch_that_the_ranks_cannot_divide_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 200 rows cannot be divided equally among 3 ranks"):
        run_threads(3, lambda comm: NetClassifier(max_iter=1, comm=comm, random_state=0).fit(*CLASSES))


def test_an_estimator_that_is_pickled_is_one_of_one_process() -> None:
    def work(comm: Communicator) -> bytes:
        return pickle.dumps(MLPClassifier(max_iter=1, comm=comm, random_state=0).fit(*CLASSES))

    for kept in run_threads(2, work):
        assert pickle.loads(kept).comm is None
        assert pickle.loads(kept).predict(CLASSES[0]).shape == CLASSES[1].shape


def test_a_clone_trains_on_the_same_ranks() -> None:
    def work(comm: Communicator) -> bool:
        return clone(MLPClassifier(comm=comm)).comm is comm

    assert run_threads(2, work) == [True, True]


def test_warnings_are_those_of_one_process() -> None:
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        run_threads(2, lambda comm: MLPClassifier(max_iter=1, comm=comm, random_state=0).fit(*CLASSES))
