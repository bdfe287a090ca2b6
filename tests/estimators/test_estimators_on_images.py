"""Estimators with any network take samples of any shape."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from anynet.estimators import MLPClassifier, NetClassifier, NetRegressor
from anynet.nn import GRU, Adam, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
IMAGES = X[:600].reshape(-1, 8, 8, 1) / 16
LABELS = Y[:600]


def cnn(outputs: int) -> Layer:
    return Sequential(Conv2d(8, 3), ReLU(), MaxPool2d(2), Flatten(), Linear(outputs))


def classifier(**settings: Any) -> NetClassifier:
    return NetClassifier(
        cnn, max_iter=20, batch_size=32, optimizer=Adam(0.005), random_state=0, backend=BACKEND, **settings
    )


def test_a_convolutional_network_classifies_images() -> None:
    net = classifier().fit(IMAGES, LABELS)
    assert net.score(IMAGES, LABELS) > 0.95
    assert net.predict_proba(IMAGES[:7]).shape == (7, 10)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict(IMAGES), net.predict(IMAGES))


def test_images_are_cross_validated_and_held_back() -> None:
    assert cross_val_score(classifier(early_stopping=True), IMAGES, LABELS, cv=2).shape == (2,)


def test_sequences_are_fitted_by_a_recurrent_network() -> None:
    x = np.random.default_rng(0).normal(size=(200, 5, 2))
    y = x[:, -1, 0]
    net = NetRegressor(
        Sequential(GRU(16), Linear(1)), optimizer=Adam(0.01), max_iter=50, random_state=0, backend=BACKEND
    ).fit(x, y)
    assert net.score(x, y) > 0.8


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda net: net.predict(IMAGES[:, :, :4]), r"takes samples of shape \(8, 8, 1\), but x has"),
        (lambda net: net.predict(X[:3]), "X has 64 features, but NetClassifier is expecting 8"),
        (lambda net: net.set_params(warm_start=True).fit(IMAGES[:, :, :4], LABELS), r"fit saw samples of \(8, 8, 1\)"),
        (lambda net: net.fit(IMAGES, LABELS, X_val=IMAGES[:9, :, :4], y_val=LABELS[:9]), r"fit saw samples of"),
        (lambda _: NetClassifier(Sequential(Conv2d(8, 3), Linear(10))).fit(IMAGES, LABELS), r"Flatten\(\) is missing"),
        (lambda _: MLPClassifier().fit(IMAGES, LABELS), "Found array with dim 4"),
    ],
)
def test_samples_of_another_shape_are_refused(use: Callable[[Any], object], words: str) -> None:
    net = classifier().set_params(max_iter=1).fit(IMAGES, LABELS)
    with pytest.raises(ValueError, match=words):
        use(net)
