"""What evaluation makes of the sums of a metric, and of what a network gives for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from anynet.model import Model
from anynet.nn import SGD, BCEWithLogitsLoss, Linear, MSELoss, Values
from anynet.training import Metric

X = np.asarray([[1.0, -2.0], [3.0, 4.0], [-5.0, 7.0]])


def passing(loss: Any, backend: str, *metrics: Metric) -> Model:
    """A model that predicts what it is given."""
    layer = Linear(2, weight=Values([[1.0, 0.0], [0.0, 1.0]]))
    return Model(layer, loss, SGD(0.1), metrics=metrics, backend=backend)


@dataclass(frozen=True)
class Columns(Metric):
    """The sum of each column, by a name with slashes."""

    name: str = "columns"
    higher_is_better = True

    def update(self, xp: Any, loss: Any, prediction: Any, target: Any, weight: Any) -> Any:
        return {f"of/column/{i}": xp.sum(weight * prediction[:, i]) for i in range(2)}

    def compute(self, means: Any) -> float:
        return float(means["of/column/0"] - 10 * means["of/column/1"])


def test_the_sums_of_a_metric_may_have_slashes_in_their_names(backend_name: str) -> None:
    measured = passing(MSELoss(), backend_name, Columns(), Columns("again")).evaluate(X, X)
    expected = X[:, 0].mean() - 10 * X[:, 1].mean()
    assert measured == pytest.approx({"loss": 0.0, "columns": expected, "again": expected})


@pytest.mark.backends("numpy", "strict", "torch", "cupy")
def test_classes_and_probabilities_are_made_of_the_output(backend_name: str) -> None:
    model = passing(BCEWithLogitsLoss(), backend_name)
    np.testing.assert_array_equal(model.classify(X), [[1, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(model.probabilities(X), 1 / (1 + np.exp(-X)), rtol=1e-6)
