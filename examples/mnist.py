"""Handwritten digits: a 784-128-64-10 network that reads MNIST.

Each of the 784 pixels is one input, each of the ten outputs the score of one digit. Start at random, then again and
again: forward, error, backward, a small change of the weights. An epoch has seen each of the 60,000 images once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import SGD, CrossEntropyLoss, Flatten, Linear, ReLU, Rescale, Sequential
from anynet.training import Progress


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="images in one step (default: %(default)s)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the order (default: %(default)s)")
    parser.add_argument("--out", default="mnist.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    data = anynet.datasets.mnist()
    network = Sequential(Rescale(1 / 255), Flatten(), Linear(128), ReLU(), Linear(64), ReLU(), Linear(10))
    model = anynet.Model(
        network, CrossEntropyLoss(), SGD(lr=options.lr), backend=options.backend, dtype="float32", seed=options.seed
    )
    print(f"{len(data.x):,} training images and {len(data.x_test):,} test images on {model.backend}")
    history = model.fit(data.x, data.y, epochs=options.epochs, batch_size=options.batch_size, callbacks=[Progress()])
    losses = ", ".join(f"{record['loss']:.4f}" for record in history)
    print(f"training loss of each epoch: {losses}")
    print(f"test accuracy: {model.evaluate(data.x_test, data.y_test)['accuracy']:.4f}")
    draw(options.out, data.x_test, data.y_test, model.probabilities(data.x_test))


def draw(path: str, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    predictions = probabilities.argmax(axis=1)
    mistakes = np.flatnonzero(predictions != labels)
    figure = plt.figure(figsize=(10, 7), layout="constrained")
    first, wrong = figure.subfigures(2, 1)
    first.suptitle("The first test images: prediction, its probability, true label; mistakes in red", weight="bold")
    wrong.suptitle(f"The first of the {len(mistakes)} mistakes among {len(labels):,}", weight="bold")
    for part, chosen in ((first, np.arange(20)), (wrong, mistakes[:20])):
        for axes in part.subplots(2, 10).flat:
            axes.set_axis_off()
        for axes, i in zip(part.axes, chosen, strict=False):
            axes.imshow(images[i], cmap="gray_r")
            title = f"{predictions[i]} ({probabilities[i].max():.0%})\ntrue: {labels[i]}"
            axes.set_title(title, fontsize=10, color="black" if predictions[i] == labels[i] else "crimson")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
