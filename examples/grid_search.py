"""A grid search over a pipeline: which network reads handwritten digits best, and how it learns.

scikit-learn's own tools do the search; the network trains on whatever library's arrays x and y are. On CuPy's, with
--backend cupy, all of it runs on a GPU: one line is another.
"""

from __future__ import annotations

import argparse
import importlib
import os
import warnings
from collections.abc import Sequence
from typing import Any

# SciPy looks at it when it is imported.
os.environ["SCIPY_ARRAY_API"] = "1"

import numpy as np
import sklearn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from anynet.estimators import MLPClassifier

SIZES = [(16,), (64,), (64, 64)]
DROPOUTS = [0.0, 0.2]
LIBRARIES = {"numpy": "numpy", "cupy": "cupy", "torch": "torch", "jax": "jax.numpy"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpy", choices=LIBRARIES, help="whose arrays (default: %(default)s)")
    parser.add_argument("--out", default="grid_search.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    x, y = load_digits(return_X_y=True)
    xp = importlib.import_module(LIBRARIES[options.backend])
    x, y = xp.asarray(x), xp.asarray(y)
    with sklearn.config_context(array_api_dispatch=True):
        scores, best = search(x, y)
    draw(options.out, scores, best)


def search(x: Any, y: Any) -> tuple[np.ndarray, MLPClassifier]:
    """The accuracy of each network of the grid, and the best one."""
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.25, random_state=0)
    network = MLPClassifier(max_iter=40, early_stopping=True, random_state=0)
    grid = GridSearchCV(
        make_pipeline(StandardScaler(), network),
        {"mlpclassifier__dropout": DROPOUTS, "mlpclassifier__hidden_layer_sizes": SIZES},
        cv=3,
    )
    grid.fit(x_train, y_train)
    scores = np.asarray(grid.cv_results_["mean_test_score"]).reshape(len(DROPOUTS), len(SIZES))
    for dropout, row in zip(DROPOUTS, scores, strict=True):
        print(f"dropout {dropout}: " + ", ".join(f"{size} {score:.3f}" for size, score in zip(SIZES, row, strict=True)))
    best = {name.removeprefix("mlpclassifier__"): value for name, value in grid.best_params_.items()}
    print(f"best: {best}; test accuracy: {float(grid.score(x_test, y_test)):.3f}")
    return scores, grid.best_estimator_[-1]


def draw(out: str, scores: np.ndarray, network: MLPClassifier) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (grid, curves) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    image = grid.imshow(scores, cmap="viridis")
    grid.set(xticks=range(len(SIZES)), xticklabels=[", ".join(map(str, size)) for size in SIZES])
    grid.set(yticks=range(len(DROPOUTS)), yticklabels=DROPOUTS, xlabel="hidden layers", ylabel="dropout")
    grid.set_title("accuracy, mean of three folds")
    middle = (scores.max() + scores.min()) / 2
    for (i, j), score in np.ndenumerate(scores):
        grid.text(j, i, f"{score:.3f}", ha="center", va="center", color="black" if score > middle else "white")
    figure.colorbar(image, ax=grid)
    epochs = range(1, len(network.loss_curve_) + 1)
    curves.plot(epochs, network.loss_curve_, label="loss, as trained on")
    curves.plot(epochs, network.validation_loss_curve_, label="loss, rows held out")
    curves.set(xlabel="epoch", yscale="log", title="the best network")
    accuracy = curves.twinx()
    accuracy.plot(
        epochs, network.validation_scores_, color="tab:green", linestyle="--", label="accuracy, rows held out"
    )
    accuracy.set_ylim(0, 1)
    curves.legend(handles=[*curves.lines, *accuracy.lines], loc="center right")
    figure.savefig(out, dpi=120)
    print(f"picture: {out}")


if __name__ == "__main__":
    main()
