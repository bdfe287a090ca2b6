"""Handwritten digits again, by a convolutional network: small filters that slide over the image.

A dense network has a weight for each pixel, and must learn a stroke anew in each place. A filter of 5 x 5 weights looks
for the same stroke everywhere. What eight of them learned is in the picture, with the images that fooled the network
most: those whose true label it thought least likely.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import Adam, Conv2d, CrossEntropyLoss, Flatten, Linear, MaxPool2d, ReLU, Rescale, Reshape, Sequential
from anynet.training import Progress

# Images are (height, width, channels); each convolution gives as many channels as it has filters.
NETWORK = Sequential(
    Rescale(1 / 255),
    Reshape((28, 28, 1)),
    Conv2d(8, kernel_size=5),  # (24, 24, 8): how much each place looks like each of the 8 filters
    ReLU(),
    MaxPool2d(2),  # (12, 12, 8): the best of each 2 x 2 places, so that a shift of one pixel matters little
    Conv2d(16, kernel_size=3),  # (10, 10, 16): arrangements of strokes, such as corners
    ReLU(),
    MaxPool2d(2),  # (5, 5, 16)
    Flatten(),
    Linear(10),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=3, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=60_000, help="training images to use (default: %(default)s)")
    parser.add_argument("--out", default="cnn_on_mnist.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    data = anynet.datasets.mnist()
    x, y = data.x[: options.samples], data.y[: options.samples]
    model = anynet.Model(NETWORK, CrossEntropyLoss(), Adam(lr=0.002), backend=options.backend, dtype="float32")
    model.fit(x, y, epochs=options.epochs, batch_size=64, callbacks=[Progress()])
    probabilities = model.probabilities(data.x_test)
    weights = sum(array.size for array in model.parameters.values())
    accuracy = (probabilities.argmax(axis=1) == data.y_test).mean()
    print(f"test accuracy: {accuracy:.4f}, with {weights:,} weights; the dense network of mnist.py has 109,386")
    draw(options.out, model, data.x_test, data.y_test, probabilities)


def draw(path: str, model: anynet.Model, images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    filters = model.parameters["2.weight"]  # (5, 5, 1, 8); "2" is the third layer of the network
    maps = model.activations(images[:1])["3"][0]  # (24, 24, 8), after the ReLU
    figure = plt.figure(figsize=(11, 6.8), layout="constrained")
    learned, wrong = figure.subfigures(2, 1)
    title = "The 8 filters (blue: positive, red: negative), and the places of a test image where each finds its stroke"
    learned.suptitle(title, weight="bold")
    panels = learned.subplots(2, 9)
    panels[0, 0].set_axis_off()
    panels[1, 0].imshow(images[0], cmap="gray_r")
    for i in range(8):
        largest = abs(filters[..., i]).max()
        panels[0, i + 1].imshow(filters[:, :, 0, i], cmap="RdBu", vmin=-largest, vmax=largest)
        panels[1, i + 1].imshow(maps[..., i], cmap="gray_r")

    # The loss of an image is -log(probability of its label), so the worst images are those where that is smallest.
    of_label = probabilities[np.arange(len(labels)), labels]
    predicted = probabilities.argmax(axis=1)
    wrong.suptitle("The test images with the highest loss: label, prediction and its probability", weight="bold")
    for axes, i in zip(wrong.subplots(2, 9).flat, np.argsort(of_label), strict=False):
        axes.imshow(images[i], cmap="gray_r")
        axes.set_title(f"is {labels[i]}, read as\n{predicted[i]} ({probabilities[i].max():.1%})", fontsize=9)
    for axes in figure.axes:
        axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
