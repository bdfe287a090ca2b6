"""Two noisy circles, one inside the other, told apart by a 2-8-1 network: ReLU, sigmoid, binary cross-entropy.

First gradient descent on the whole training part at once, and how much of its result is luck. Then the same network
with momentum and with mini-batches. The circles overlap, with noise of 0.1 against a gap of 0.2 between the radii:
even the best boundary there is, a circle halfway, is right only about 84 times in 100.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import anynet
from anynet.nn import SGD, BCELoss, HeNormal, Linear, ReLU, Rescale, Sequential, Sigmoid, Values
from anynet.training import Callback


class Rows(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class EveryHundred(Callback):
    def on_epoch_end(self, model: anynet.Model, record: dict[str, float]) -> None:
        if model.epoch % 100 == 0:
            print(f"epoch {model.epoch:4}  loss {record['loss']:.4f}")


# Here NumPy's older generator draws the split of scikit-learn's train_test_split, and below the weights that
# np.random.seed and randn give, so that the results can be compared with those of any lesson.
def split_off_a_fifth(seed: int) -> Rows:
    data = anynet.datasets.circles()
    order = np.random.RandomState(seed).permutation(len(data.x))
    test, train = np.split(order, [len(order) // 5])
    return Rows(data.x[train], data.y[train], data.x[test], data.y[test])


def untrained(rows: Rows, seed: int, optimizer: SGD, backend: str) -> anynet.Model:
    generator = np.random.RandomState(seed)
    network = Sequential(
        Rescale(scale=1 / rows.x.std(axis=0), shift=rows.x.mean(axis=0)),
        Linear(8, weight=Values(HeNormal()(generator, (2, 8)))),
        ReLU(),
        Linear(1, weight=Values(HeNormal()(generator, (8, 1)))),
        Sigmoid(),
    )
    return anynet.Model(network, BCELoss(), optimizer, backend=backend, dtype="float64")


def result(model: anynet.Model, rows: Rows) -> str:
    loss = model.evaluate(rows.x, rows.y)["loss"]
    accuracy = model.evaluate(rows.x_test, rows.y_test)["accuracy"]
    return f"training loss {loss:.3f}, test accuracy {accuracy:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--split", type=int, default=0, help="seed of the split in 800 and 200 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="seed of the starting weights (default: %(default)s)")
    parser.add_argument("--out", default="two_circles.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)
    rows = split_off_a_fifth(options.split)

    print("Gradient descent, all 800 rows in every step, learning rate 0.1:")
    plain = untrained(rows, options.seed, SGD(lr=0.1), options.backend)
    plain.fit(rows.x, rows.y, epochs=1000, batch_size=len(rows.x), callbacks=[EveryHundred()])
    print(result(plain, rows))

    print("\nThe same with other splits and other starting weights:")
    others = [(split, options.seed) for split in range(4)] + [(options.split, seed) for seed in range(3)]
    for split, seed in others:
        these = split_off_a_fifth(split)
        model = untrained(these, seed, SGD(lr=0.1), options.backend)
        model.fit(these.x, these.y, epochs=1000, batch_size=len(these.x))
        print(f"  split {split}, seed {seed:2}:  {result(model, these)}")

    print("\nThe first split and weights with momentum and with mini-batches:")
    for name, momentum, epochs, batch_size in (
        ("1000 epochs, batch 800, momentum 0.9", 0.9, 1000, 800),
        ("100 epochs, batch 32, no momentum", 0.0, 100, 32),
        ("100 epochs, batch 100, momentum 0.9", 0.9, 100, 100),
    ):
        model = untrained(rows, options.seed, SGD(lr=0.1, momentum=momentum), options.backend)
        model.fit(rows.x, rows.y, epochs=epochs, batch_size=batch_size)
        print(f"  {name:37}  {result(model, rows)}")
    draw(options.out, rows, {"1000 epochs, batch 800, no momentum": plain, name: model})


def draw(path: str, rows: Rows, models: dict[str, anynet.Model]) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(12, 5.6), sharey=True, layout="constrained")
    side = np.linspace(-1.5, 1.5, 301)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    for axes, (name, model) in zip(panels, models.items(), strict=True):
        inner = model.probabilities(grid).reshape(len(side), len(side))
        filled = axes.contourf(side, side, inner, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.7)
        axes.contour(side, side, inner, levels=[0.5], colors="black")
        for label, color, marker in ((0, "darkred", "o"), (1, "navy", "^")):
            x, y = rows.x_test[rows.y_test == label].T
            name_of_circle = ("outer", "inner")[label]
            axes.scatter(x, y, s=20, c=color, marker=marker, edgecolor="white", linewidth=0.5, label=name_of_circle)
        axes.set(title=f"{name}\n{result(model, rows)}", xlabel="x", ylabel="y", aspect="equal")
    panels[0].legend(title="test points", loc="lower left")
    figure.colorbar(filled, ax=panels, label="probability of the inner circle; black line: 0.5")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
