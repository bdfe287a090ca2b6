"""The perceptrons against scikit-learn's, with default settings, on ten of scikit-learn's own data sets."""

from __future__ import annotations

import statistics
import time
import warnings
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from anynet.estimators import MLPClassifier, MLPRegressor

FOLDS = 5
SETS = {
    "iris": lambda: datasets.load_iris(return_X_y=True),
    "wine": lambda: datasets.load_wine(return_X_y=True),
    "breast_cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
    "digits": lambda: datasets.load_digits(return_X_y=True),
    "diabetes": lambda: datasets.load_diabetes(return_X_y=True),
    "make_classification": lambda: datasets.make_classification(2000, n_informative=10, n_classes=4, random_state=0),
    "make_moons": lambda: datasets.make_moons(1000, noise=0.2, random_state=0),
    "make_circles": lambda: datasets.make_circles(1000, noise=0.1, factor=0.5, random_state=0),
    "make_regression": lambda: datasets.make_regression(1000, 20, noise=5.0, random_state=0),
    "make_friedman1": lambda: datasets.make_friedman1(2000, noise=1.0, random_state=0),
}


def against_scikit_learn(seeds: int) -> list[dict[str, Any]]:
    """For each set, scores of all folds and seeds of both, and how long each of them took to fit, in turns."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    return [_of_one(name, *make(), seeds) for name, make in SETS.items()]


def _of_one(name: str, x: Any, y: Any, seeds: int) -> dict[str, Any]:
    classes = y.dtype.kind != "f"
    kinds = (TheirClassifier, MLPClassifier) if classes else (TheirRegressor, MLPRegressor)
    scores: list[list[float]] = [[], []]
    seconds: list[list[float]] = [[], []]
    for seed in range(seeds):
        folds = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=seed)
        for turn, (train, test) in enumerate(folds.split(x, y)):
            # Each is first as often as the other.
            for i in (0, 1) if turn % 2 else (1, 0):
                started = time.perf_counter()
                fitted = kinds[i](random_state=seed).fit(x[train], y[train])
                seconds[i].append(time.perf_counter() - started)
                scores[i].append(float(fitted.score(x[test], y[test])))
    return {
        "set": name,
        "rows": len(x),
        "columns": x.shape[1],
        "score of scikit-learn": float(np.mean(scores[0])),
        "score of anynet": float(np.mean(scores[1])),
        "seconds of scikit-learn": seconds[0],
        "seconds of anynet": seconds[1],
        "seconds, as a share": statistics.median(a / b for a, b in zip(seconds[1], seconds[0], strict=True)),
    }


def table(found: list[dict[str, Any]]) -> str:
    """A row for each set."""
    lines = [
        "| | rows | score, scikit-learn | score, anynet | seconds to fit, as a share |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in found:
        own, theirs, share = row["score of anynet"], row["score of scikit-learn"], row["seconds, as a share"]
        lines.append(f"| {row['set']} | {row['rows']} | {theirs:.4f} | {own:.4f} | {share:.2f} |")
    median = statistics.median(row["seconds, as a share"] for row in found)
    return "\n".join([*lines, f"| median | | | | **{median:.2f}** |"])
