"""The same training on every array library that is here, to see that they agree.

Weights and order of the rows are drawn on the host, so every backend starts from the same numbers and does the same
sums. What differs is the order in which a library adds them up, and so the last digits.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.backends import BACKENDS, Backend, select
from anynet.errors import BackendError
from anynet.nn import SGD, BCEWithLogitsLoss, Linear, Sequential, Tanh


def losses_on(backend: Backend, epochs: int) -> np.ndarray:
    data = anynet.datasets.circles()
    network = Sequential(Linear(16), Tanh(), Linear(1))
    model = anynet.Model(network, BCEWithLogitsLoss(), SGD(lr=0.1, momentum=0.9), backend=backend)
    return np.asarray([record["loss"] for record in model.fit(data.x, data.y, epochs=epochs, batch_size=50)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "the one that the others are compared with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    precision = "precision of the sums (default: %(default)s)"
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64", help=precision)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the 1000 rows (default: %(default)s)")
    parser.add_argument("--out", default="parity.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    first = select(options.backend, options.dtype)
    curves = {first.name: losses_on(first, options.epochs)}
    print(f"{first}: last loss {curves[first.name][-1]:.10f}")
    for name in BACKENDS:
        if name == first.name:
            continue
        try:
            backend = select(name, options.dtype)
        except BackendError as error:
            print(f"missing: {error}")
            continue
        curves[name] = losses_on(backend, options.epochs)
        difference = np.abs(curves[name] - curves[first.name]).max()
        print(f"{backend}: last loss {curves[name][-1]:.10f}, largest difference from {first.name} {difference:.1e}")
    draw(options.out, curves, options.dtype)


def draw(path: str, curves: dict[str, np.ndarray], dtype: str) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (losses, differences) = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
    first, *others = curves
    epochs = np.arange(1, len(curves[first]) + 1)
    for i, (name, curve) in enumerate(curves.items()):
        # The later, the thinner, so that curves on top of each other all show.
        losses.plot(epochs, curve, label=name, color=f"C{i}", linewidth=3 * (len(curves) - i), solid_capstyle="butt")
        if name in others:
            differences.plot(epochs, np.abs(curve - curves[first]), ".-", label=name, color=f"C{i}")
    losses.set(
        title=f"Training loss in {dtype}, all on top of each other", xlabel="epoch", ylabel="binary cross-entropy"
    )
    differences.set(title=f"How far each loss is from that of {first}", xlabel="epoch", ylabel="absolute difference")
    losses.legend()
    if others:
        differences.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
