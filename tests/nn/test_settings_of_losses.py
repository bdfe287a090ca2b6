"""Weights of classes, smoothing and other settings of losses: what they keep finite, and which are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.errors import ShapeError, UsageError
from anynet.nn.derived import value_and_gradient


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(0.1), nn.CrossEntropyLoss(0, (1, 2)), nn.BCEWithLogitsLoss(2)])
@pytest.mark.filterwarnings("error")
def test_weighted_losses_of_any_logits_are_finite(loss: Any) -> None:
    logits, target = np.asarray([[1e4, -1e4], [0.0, 0.0]]), np.asarray([0, 1], np.int32)
    target = target if loss.target_kind == "class" else np.asarray([[0.0, 1.0], [1.0, 1.0]])
    for array in value_and_gradient(loss, np, logits, target, np.asarray([0.5, 0.5])):
        assert np.isfinite(array).all()


@pytest.mark.filterwarnings("error")
def test_an_infinite_logit_does_not_spoil_a_weighted_loss() -> None:
    loss = nn.CrossEntropyLoss(class_weights=(2.0, 1.0))
    value, gradient = value_and_gradient(loss, np, np.asarray([[0.0, -np.inf]]), np.asarray([0]), np.ones(1))
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.HuberLoss(0.0), "HuberLoss: delta must be above 0 and finite, but is 0.0"),
        (lambda: nn.QuantileLoss(1), "QuantileLoss: quantile must be above 0 and below 1, but is 1"),
        (lambda: nn.CrossEntropyLoss(1.5), "CrossEntropyLoss: label_smoothing must be from 0 to 1, but is 1.5"),
        (lambda: nn.CrossEntropyLoss(0, (1, -1)), "class_weights must hold numbers of 0 or more, but is (1, -1)"),
        (lambda: nn.BCEWithLogitsLoss([[1.0]]), "BCEWithLogitsLoss: pos_weight must hold numbers of 0 or more"),
        (lambda: nn.BCEWithLogitsLoss("2"), "every one of the given values must be a finite number"),
    ],
)
def test_settings_that_make_no_loss_are_refused(make: Any, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert words in str(caught.value)


def test_weights_are_one_for_each_output() -> None:
    words = "CrossEntropyLoss needs as many class_weights as the network has outputs, 3, but has 2"
    with pytest.raises(ShapeError, match=words):
        nn.CrossEntropyLoss(class_weights=(1, 2))(np, np.zeros((1, 3)), np.asarray([0]), np.ones(1))
