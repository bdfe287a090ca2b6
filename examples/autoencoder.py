"""An autoencoder squeezes each digit of MNIST into two numbers, and draws it again from these.

It is trained to give back what it was given; nobody tells it which digit that is. But all it may pass on through its
middle are two numbers, its code, and so alike digits get alike codes: the picture has them as a map. Two principal
components are the best code of two numbers that is linear, and the one to beat.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import Adam, BCEWithLogitsLoss, Flatten, Linear, OneCycle, Rescale, Reshape, Sequential, SiLU, Tanh
from anynet.training import Progress

# Tanh keeps the code between -1 and 1, so that the map has edges.
ENCODER = (Rescale(1 / 255), Flatten(), Linear(128), SiLU(), Linear(64), SiLU(), Linear(32), SiLU(), Linear(2), Tanh())
DECODER = (Linear(32), SiLU(), Linear(64), SiLU(), Linear(128), SiLU(), Linear(784), Reshape((28, 28)))
CODE = str(len(ENCODER) - 1)  # layers are named by their place


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=8, help="passes over the training images (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=60_000, help="training images to use (default: %(default)s)")
    parser.add_argument("--out", default="autoencoder.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    data = anynet.datasets.mnist()
    x, x_test = data.x[: options.samples], data.x_test
    # A pixel is a probability of ink, from 0 to 1, so the loss is that of a yes or no for each.
    ink, ink_test = (images / np.float32(255) for images in (x, x_test))
    optimizer = Adam(OneCycle(0.004, steps=options.epochs * -(-len(x) // 128)))
    network = Sequential(*ENCODER, *DECODER)
    model = anynet.Model(network, BCEWithLogitsLoss(), optimizer, backend=options.backend, dtype="float32")
    model.fit(x, ink, epochs=options.epochs, batch_size=128, callbacks=[Progress()])

    drawn = {"autoencoder": model.probabilities(x_test), "two principal components": by_components(ink, ink_test)}
    print("distance of test images from what is drawn of their code, root of the mean square over all pixels:")
    for name, images in {"the mean image, always": ink.mean(axis=0), **drawn}.items():
        print(f"  {name:25} {np.sqrt(((images - ink_test) ** 2).mean()):.4f}")
    codes, labels = model.activations(x_test)[CODE], data.y_test
    distances = ((codes[:2000, None, :] - codes[:2000]) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    same = labels[distances.argmin(axis=1)] == labels[:2000]
    print(f"images whose nearest neighbour on the map, of 2,000, is the same digit: {same.mean():.3f}")
    draw(options.out, {"test images": ink_test, **drawn}, codes, labels)


def by_components(ink: np.ndarray, ink_test: np.ndarray) -> np.ndarray:
    mean = ink.reshape(-1, 784).mean(axis=0)
    rest = ink.reshape(-1, 784) - mean
    components = np.linalg.eigh(rest.T @ rest)[1][:, -2:]
    return ((ink_test.reshape(-1, 784) - mean) @ components @ components.T + mean).reshape(ink_test.shape)


def draw(path: str, images: dict[str, np.ndarray], codes: np.ndarray, labels: np.ndarray) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(11, 12), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2))
    firsts = [np.flatnonzero(labels == digit)[0] for digit in range(10)]
    for row, (name, chosen) in zip(above.subplots(len(images), 10), images.items(), strict=True):
        for axes, i in zip(row, firsts, strict=True):
            axes.imshow(chosen[i], cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name.replace(" ", "\n"), rotation=0, ha="right", va="center")
    axes = below.subplots()
    points = axes.scatter(*codes.T, s=4, c=labels, cmap="tab10")
    axes.set(title=f"The codes of {len(codes):,} test images", xlabel="first number", ylabel="second number")
    axes.legend(*points.legend_elements(), title="digit", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
