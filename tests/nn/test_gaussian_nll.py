"""GaussianNLLLoss, whose prediction holds means and variances side by side."""

from __future__ import annotations

import math

import numpy as np
import pytest

import anynet
from anynet import nn
from anynet.errors import ShapeError
from anynet.nn.derived import value_and_gradient

ROWS = 6


@pytest.mark.needs("torch")
def test_means_and_variances_side_by_side_give_what_they_give_in_pytorch() -> None:
    import torch

    generator = np.random.default_rng(3)
    prediction, target = (generator.normal(size=(ROWS, columns)) for columns in (4, 2))
    leaf = torch.asarray(prediction, requires_grad=True)
    expected = torch.nn.GaussianNLLLoss()(leaf[:, :2], torch.asarray(target), torch.exp(leaf[:, 2:]))
    expected.backward()
    value, gradient = value_and_gradient(nn.GaussianNLLLoss(), np, prediction, target, np.full(ROWS, 1 / ROWS))
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(gradient, leaf.grad, rtol=1e-12)


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_mean_without_a_variance_is_refused(outputs: int) -> None:
    model = anynet.Model(nn.Linear(outputs), nn.GaussianNLLLoss(), nn.SGD(0.1))
    with pytest.raises(ShapeError, match=f"needs two outputs for each value, .* but the network has {outputs}"):
        model.fit(np.ones((4, 2)), np.ones((4, outputs)))


def test_a_target_has_half_as_many_columns_as_means_and_variances() -> None:
    model = anynet.Model(nn.Linear(4), nn.GaussianNLLLoss(), nn.SGD(0.1))
    with pytest.raises(ShapeError, match=r"GaussianNLLLoss needs a target of shape \(4, 2\), but got \(4, 4\)"):
        model.fit(np.ones((4, 2)), np.ones((4, 4)))


def test_a_network_learns_mean_and_variance_and_metrics_measure_the_mean() -> None:
    x = np.repeat([[0.0], [1.0]], 200, axis=0)
    y = x[:, 0] + np.tile([-1.0, 1.0], 200) * np.where(x[:, 0] > 0, 0.5, 0.1)
    metrics = [anynet.training.R2Score(), anynet.training.MeanAbsoluteError(), anynet.training.RootMeanSquaredError()]
    model = anynet.Model(nn.Linear(2), nn.GaussianNLLLoss(), nn.Adam(0.1), metrics=metrics)
    model.fit(x, y, epochs=400, batch_size=400)
    mean, logs = model.predict(x[[0, -1]]).T
    np.testing.assert_allclose(mean, [0.0, 1.0], atol=0.1)
    np.testing.assert_allclose(np.exp(logs / 2), [0.1, 0.5], rtol=0.2)
    found = model.evaluate(x, y)
    assert found["mae"] == pytest.approx(0.3, abs=0.03)
    assert found["rmse"] == pytest.approx(math.sqrt(0.13), abs=0.03)
    assert found["r2"] == pytest.approx(1 - 0.13 / 0.38, abs=0.05)
