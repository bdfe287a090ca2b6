"""Warnings name the line of the caller's own file, however deep in anynet their reason is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from anynet import Model
from anynet.estimators import MLPClassifier, MLPRegressor
from anynet.nn import SGD, CrossEntropyLoss, Layer, Linear, MSELoss, Sequential

pytestmark = pytest.mark.host

X = np.random.default_rng(0).normal(size=(30, 3))
Y = (X[:, 0] > 0).astype(int)


class Untraceable(Layer):
    def forward(self, xp: Any, p: Any, x: Any, ctx: Any) -> Any:
        return np.sort(np.asarray(x), axis=0), None

    def backward(self, xp: Any, p: Any, saved: Any, dy: Any, need_dx: bool = True) -> Any:
        return dy, {}


WARNINGS: dict[str, tuple[type[Warning], str, Callable[[], Any]]] = {
    "a step that cannot be compiled": (
        UserWarning,
        "cannot be compiled",
        lambda: Model(Sequential(Untraceable(), Linear(1)), MSELoss(), SGD(0.1)).fit(X, X[:, :1]),
    ),
    "targets of one class": (
        UserWarning,
        "a network can only learn to predict that always",
        lambda: Model(Linear(2), CrossEntropyLoss(), SGD(0.1)).fit(X, 0 * Y),
    ),
    "a batch size above the number of rows": (
        UserWarning,
        "batch_size",
        lambda: MLPClassifier(batch_size=99, max_iter=1000, tol=1.0).fit(X, Y),
    ),
    "the same in partial_fit": (
        UserWarning,
        "batch_size",
        lambda: MLPClassifier(batch_size=99).partial_fit(X, Y, classes=[0, 1]),
    ),
    "epochs that are over too soon": (
        ConvergenceWarning,
        "hasn't converged",
        lambda: MLPRegressor(max_iter=1).fit(X, Y),
    ),
    "lbfgs that is over too soon": (
        ConvergenceWarning,
        "lbfgs failed to converge",
        lambda: MLPRegressor(solver="lbfgs", max_iter=1).fit(X, Y),
    ),
}


@pytest.mark.parametrize(("category", "words", "do"), WARNINGS.values(), ids=WARNINGS.keys())
def test_a_warning_is_of_the_callers_file(category: type[Warning], words: str, do: Callable[[], Any]) -> None:
    with pytest.warns(category, match=words) as caught:
        do()
    assert [warning.filename for warning in caught] == [__file__]
