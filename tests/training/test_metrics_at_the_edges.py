"""What metrics make of classes that nobody has, of little weight, and of targets that hardly vary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn

from anynet import Model
from anynet.nn import SGD, BCEWithLogitsLoss, CrossEntropyLoss, Linear, MSELoss, Values
from anynet.training import Accuracy, F1Score, Metric, R2Score
from anynet.training.batches import EVALUATION_BATCH
from anynet.training.metrics import default_metrics


def measured(metric: Metric, loss: Any, backend: str, prediction: Any, target: Any, weight: Any = None) -> float:
    """What a metric makes of predictions."""
    columns = prediction.shape[1]
    layer = Linear(columns, weight=Values(np.eye(columns).tolist()))
    model = Model(layer, loss, SGD(0.1), metrics=[metric], backend=backend, dtype="float64")
    return model.evaluate(prediction, target, weight)[metric.name]


def test_f1_leaves_out_a_class_that_no_sample_has_and_none_is_taken_for(backend_name: str) -> None:
    predicted, target = np.asarray([0, 0, 3, 3, 3, 0]), np.asarray([0, 3, 3, 0, 3, 0])
    expected = sklearn.f1_score(target, predicted, average="macro")
    assert measured(F1Score(), CrossEntropyLoss(), backend_name, np.eye(4)[predicted], target) == pytest.approx(
        expected
    )


def test_f1_of_two_classes_is_0_where_nobody_has_the_second(backend_name: str) -> None:
    found = measured(F1Score(), CrossEntropyLoss(), backend_name, np.eye(2)[[0, 0, 0]], np.zeros(3, int))
    assert found == 0.0


# The largest weight is taken as a number from 0.5 to 1, so that these are less than 1 in all.
@pytest.mark.parametrize("weight", [[0.5, 0.2, 0.1, 0.05], [0.6, 0.0, 0.1, 0.0]])
def test_r2_is_right_however_little_samples_weigh(weight: list[float], backend_name: str) -> None:
    target = np.asarray([[3.0], [1.0], [7.0], [2.0]])
    prediction = target + np.asarray([[0.5], [-1.0], [0.25], [2.0]])
    found = measured(R2Score(), MSELoss(), backend_name, prediction, target, np.asarray(weight))
    assert found == pytest.approx(sklearn.r2_score(target, prediction, sample_weight=weight), rel=1e-9)


@pytest.mark.parametrize("other", [9.0, -9.0])
def test_r2_does_not_see_a_target_without_weight(other: float, backend_name: str) -> None:
    target, weight = np.asarray([[2.0], [2.0], [other]]), np.asarray([1.0, 1.0, 0.0])
    assert measured(R2Score(), MSELoss(), backend_name, target, target, weight) == 1.0
    assert measured(R2Score(), MSELoss(), backend_name, target + 1, target, weight) == 0.0


@pytest.mark.parametrize("values", [(5.0, 5.0), (5.0, 6.0), (5.0, None), (None, 5.0)])
def test_r2_takes_targets_that_do_not_vary_in_one_batch(values: tuple[Any, Any]) -> None:
    drawn = np.random.default_rng(0).normal(size=(2, EVALUATION_BATCH, 1))
    target = np.concatenate(
        [noise if value is None else 0 * noise + value for value, noise in zip(values, drawn, strict=True)]
    )
    prediction = target + 0.1 * drawn[0, 0]
    found = measured(R2Score(), MSELoss(), "numpy", prediction, target)
    assert found == pytest.approx(sklearn.r2_score(target, prediction), rel=1e-9)


def test_r2_of_an_error_that_is_no_number_is_none_either() -> None:
    error = np.asarray([np.nan, 0.0])
    for highest in (2.0, 3.0):
        means = {"error": error, "spread": np.ones(2), "lowest": np.full(2, 2.0), "highest": np.full(2, highest)}
        assert np.isnan(R2Score().compute(means))
        assert R2Score().compute({name: values[1:] for name, values in means.items()}) == 1.0


def test_only_a_loss_that_can_classify_is_measured_by_accuracy() -> None:
    assert default_metrics(CrossEntropyLoss()) == (Accuracy(),)
    assert default_metrics(MSELoss()) == ()


@pytest.mark.parametrize(("target", "expected"), [(0.5, 1.0), (0.75, 1.0), (0.499, 0.0), (1.0, 1.0), (0.0, 0.0)])
def test_a_probability_counts_as_class_1_from_a_half_on(target: float, expected: float, backend_name: str) -> None:
    for metric in (Accuracy(), F1Score()):
        found = measured(metric, BCEWithLogitsLoss(), backend_name, np.ones((3, 1)), np.full((3, 1), target))
        assert found == expected
