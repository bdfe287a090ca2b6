"""What a model measures is what its predictions are."""

from __future__ import annotations

import numpy as np
import pytest
from training.four_classes import data, small_model

from anynet import nn
from anynet.model import Model
from anynet.nn import SGD, BCEWithLogitsLoss, Linear, Sequential


def test_a_perfect_accuracy_is_exactly_one(backend_name: str) -> None:
    x = np.random.default_rng(0).normal(size=(997, 1))
    model = Model(Linear(1, nn.Values([[1.0]])), BCEWithLogitsLoss(), SGD(0.1), backend=backend_name)
    assert model.evaluate(x, (x[:, 0] > 0).astype(int))["accuracy"] == 1.0


def test_a_probability_as_target_counts_by_its_side_of_a_half() -> None:
    model = Model(Linear(1, nn.Values([[1.0]])), BCEWithLogitsLoss(), SGD(0.1))
    assert model.evaluate(np.asarray([[1.0], [-1.0]]), np.asarray([0.99, 0.4]))["accuracy"] == 1.0


def test_evaluation_and_prediction_agree_with_each_other(backend_name: str) -> None:
    x, y = data(rows=1500)
    model = small_model(backend_name)
    model.fit(x, y, epochs=2)
    result = model.evaluate(x, y)
    assert result["accuracy"] == pytest.approx(np.mean(model.classify(x) == y))
    probabilities = model.probabilities(x)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert result["loss"] == pytest.approx(-np.log(probabilities[np.arange(1500), y]).mean())
    np.testing.assert_array_equal(model.predict(x).argmax(axis=1), model.classify(x))


def test_accuracy_of_probabilities_and_of_logits_is_the_share_at_the_right_side_of_a_half() -> None:
    x = np.asarray([[-2.0], [-1.0], [1.0], [2.0]])
    y = np.asarray([0, 1, 1, 1])
    line = Linear(1, nn.Values([[1.0]]))
    for network, loss in ((line, BCEWithLogitsLoss()), (Sequential(line, nn.Sigmoid()), nn.BCELoss())):
        model = Model(network, loss, SGD(0.1))
        assert model.evaluate(x, y)["accuracy"] == 0.75
        np.testing.assert_array_equal(model.classify(x)[:, 0], [0, 0, 1, 1])
