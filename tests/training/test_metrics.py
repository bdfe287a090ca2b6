"""What every metric promises: the numbers of scikit-learn, on any library, whatever the batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sklearn
from training.predictions import CLASSES, LABELS, MANY, ONE, SECOND, THREE, TWO, VALUES, WEIGHT, YES, passing

from anynet import Model
from anynet.nn import SGD, BCEWithLogitsLoss, CrossEntropyLoss, Linear, MSELoss, Values
from anynet.training import ROCAUC, Accuracy, F1Score, MeanAbsoluteError, Metric, R2Score, RootMeanSquaredError
from anynet.training.metrics import METRICS


def chance(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def softmax(z: Any) -> Any:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def of_columns(measure: Any, target: Any, predicted: Any, **options: Any) -> Any:
    return np.mean([measure(target[:, i], predicted[:, i], **options) for i in range(target.shape[1])])


W = {"sample_weight": WEIGHT}
# The metric, the loss, predictions and targets, and what scikit-learn makes of them.
CASES: dict[str, tuple[Metric, Any, Any, Any, float]] = {
    "accuracy": (Accuracy(), CrossEntropyLoss(), THREE, CLASSES, sklearn.accuracy_score(CLASSES, THREE.argmax(1), **W)),
    "accuracy of labels": (
        Accuracy(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        of_columns(sklearn.accuracy_score, LABELS, MANY >= 0, **W),
    ),
    "f1 of many classes": (
        F1Score(),
        CrossEntropyLoss(),
        THREE,
        CLASSES,
        sklearn.f1_score(CLASSES, THREE.argmax(1), average="macro", **W),
    ),
    "f1 of two classes": (F1Score(), CrossEntropyLoss(), TWO, SECOND, sklearn.f1_score(SECOND, TWO.argmax(1), **W)),
    "f1 of one output": (F1Score(), BCEWithLogitsLoss(), ONE, YES, sklearn.f1_score(YES, ONE >= 0, **W)),
    "f1 of labels": (
        F1Score(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        sklearn.f1_score(LABELS, MANY >= 0, average="macro", **W),
    ),
    "roc_auc of many classes": (
        ROCAUC(),
        CrossEntropyLoss(),
        THREE,
        CLASSES,
        of_columns(sklearn.roc_auc_score, np.eye(3)[CLASSES], softmax(THREE), **W),
    ),
    "roc_auc of two classes": (
        ROCAUC(),
        CrossEntropyLoss(),
        TWO,
        SECOND,
        sklearn.roc_auc_score(SECOND, softmax(TWO)[:, 1], **W),
    ),
    "roc_auc of one output": (ROCAUC(), BCEWithLogitsLoss(), ONE, YES, sklearn.roc_auc_score(YES, chance(ONE), **W)),
    "roc_auc of labels": (
        ROCAUC(),
        BCEWithLogitsLoss(),
        MANY,
        LABELS,
        sklearn.roc_auc_score(LABELS, chance(MANY), average="macro", **W),
    ),
    "r2": (R2Score(), MSELoss(), 1e4 + MANY, VALUES, sklearn.r2_score(VALUES, 1e4 + MANY, **W)),
    "mae": (MeanAbsoluteError(), MSELoss(), MANY, LABELS, sklearn.mean_absolute_error(LABELS, MANY, **W)),
    "rmse": (
        RootMeanSquaredError(),
        MSELoss(),
        MANY,
        LABELS,
        np.sqrt(sklearn.mean_squared_error(LABELS, MANY, **W)),
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_it_is_what_scikit_learn_measures(case: Any, backend_name: str) -> None:
    metric, loss, prediction, target, expected = case
    measured = passing(prediction.shape[1], loss, [metric], backend_name).evaluate(prediction, target, WEIGHT)
    assert measured[metric.name] == pytest.approx(expected, rel=1e-9)


def test_every_metric_of_the_package_has_a_case() -> None:
    assert {type(metric) for metric, *_ in CASES.values()} == set(METRICS)


def test_r2_does_not_cancel_where_the_mean_is_large_in_float32(backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    target = 1e4 + np.arange(4000.0)[:, None] / 1000
    assert model.evaluate(target + 0.5, target)["r2"] == pytest.approx(sklearn.r2_score(target, target + 0.5), abs=2e-3)


def test_r2_of_a_target_that_does_not_vary_is_one_where_it_is_met_else_zero() -> None:
    x = np.asarray([[2.0, 1.0], [2.0, 3.0]])
    assert passing(2, MSELoss(), [R2Score()]).evaluate(x, np.full((2, 2), 2.0))["r2"] == 0.5


def test_samples_without_weight_count_for_nothing() -> None:
    weight = WEIGHT.copy()
    weight[:1500] = 0
    model = passing(4, MSELoss(), [R2Score(), MeanAbsoluteError()])
    some, rest = model.evaluate(MANY, VALUES, weight), model.evaluate(MANY[1500:], VALUES[1500:], weight[1500:])
    assert some == pytest.approx(rest)


def test_roc_auc_of_scores_that_are_no_numbers_is_no_number_either() -> None:
    weight = np.asarray([[0.5], [0.0]])
    means = {"scores": np.asarray([[np.nan], [1.0]]), "positive": weight, "negative": 0.5 - weight}
    assert np.isnan(ROCAUC().compute(means))


def test_roc_auc_of_one_class_alone_is_no_number_and_f1_of_none_is_zero() -> None:
    model = passing(1, BCEWithLogitsLoss(), [ROCAUC(), F1Score()])
    measured = model.evaluate(-np.ones((5, 1)), np.zeros((5, 1)))
    assert np.isnan(measured["roc_auc"])
    assert measured["f1"] == 0.0


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 20.0), (0.001, 0.0), (100.0, 0.0), (1e-6, 5.0)])
@pytest.mark.parametrize("loss", [BCEWithLogitsLoss(), CrossEntropyLoss()], ids=repr)
def test_roc_auc_is_exact_however_sure_the_network_is(loss: Any, scale: float, offset: float) -> None:
    second = (scale * TWO[:, 1:] + offset).astype(np.float64)
    prediction = second if isinstance(loss, BCEWithLogitsLoss) else np.hstack([np.zeros_like(second), second])
    target = SECOND[:, None].astype(float) if isinstance(loss, BCEWithLogitsLoss) else SECOND
    measured = passing(prediction.shape[1], loss, [ROCAUC()]).evaluate(prediction, target)["roc_auc"]
    assert measured == pytest.approx(sklearn.roc_auc_score(SECOND, second), abs=1e-5)


def test_a_label_that_never_occurs_counts_as_0_in_f1_as_in_scikit_learn() -> None:
    prediction, target = MANY.copy(), LABELS.copy()
    prediction[:, 1], target[:, 1] = -1.0, 0.0
    expected = sklearn.f1_score(target, prediction >= 0, average="macro", zero_division=0)
    assert passing(4, BCEWithLogitsLoss(), [F1Score()]).evaluate(prediction, target)["f1"] == pytest.approx(expected)


@pytest.mark.parametrize(("value", "expected"), [(0.1, 0.0), (1e4 + 0.3, 0.0)])
def test_r2_of_a_constant_is_not_a_rounding_error(value: float, expected: float, backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    target = np.full((1500, 1), value)
    assert model.evaluate(target * 1.01, target)["r2"] == expected


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_r2_is_no_number_where_squares_do_not_fit(scale: float, backend_name: str) -> None:
    model = Model(Linear(1, Values([[1.0]])), MSELoss(), SGD(0.1), metrics=[R2Score()], backend=backend_name)
    assert np.isnan(model.evaluate(-scale * ONE, scale * ONE)["r2"])
