"""A layer of one's own in a few lines: bumps, each with a place and a width that it learns.

A layer says which parameters it has, and computes its output with functions of the array library `xp`. Its gradient is
derived from that, and anynet.gradcheck shows that it is right. Then a sum of 30 bumps fits a curve that swings ever
faster, which a line cannot, and a usual network of that size does not in the same time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import anynet
from anynet.nn import Adam, Context, CosineDecay, Layer, Linear, MSELoss, Parameter, Sequential, Tanh

UNITS = 30


@dataclass(frozen=True)
class Bumps(Layer):
    """y[j] = exp(-(sharpness[j] * |x - center[j]|)^2): 1 at its center, and almost 0 far from it."""

    count: int

    def parameters(self, shape: tuple[int, ...]) -> tuple[dict[str, Parameter], tuple[int, ...]]:
        center = Parameter((self.count, *shape), lambda generator, shape: generator.uniform(-1, 1, shape))
        sharpness = Parameter((self.count,), lambda generator, shape: generator.uniform(5, 15, shape))
        return {"center": center, "sharpness": sharpness}, (self.count,)

    def forward(self, xp: Any, p: Any, x: Any, ctx: Context) -> Any:
        squared_distance = xp.sum((x[:, None, :] - p["center"]) ** 2, axis=-1)
        return xp.exp(-(p["sharpness"] ** 2) * squared_distance)


NETWORKS = {
    "line": Linear(1),
    "tanh": Sequential(Linear(UNITS), Tanh(), Linear(1)),
    "bumps": Sequential(Bumps(UNITS), Linear(1)),
}
GRID = np.linspace(-1, 1, 1001)[:, None]


def curve(x: np.ndarray) -> np.ndarray:
    return np.sin(2 * np.pi * (x + 1) ** 2)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--epochs", type=int, default=300, help="passes over the 500 points (default: %(default)s)")
    parser.add_argument("--out", default="custom_layer.png", help="file of the picture (default: %(default)s)")
    options = parser.parse_args(arguments)

    generator = np.random.default_rng(0)
    x = generator.uniform(-1, 1, (500, 1))
    y = curve(x) + generator.normal(0, 0.1, x.shape)
    check = anynet.gradcheck(NETWORKS["bumps"], x[:50], y[:50], loss=MSELoss(), backend=options.backend)
    print(f"The gradient that was derived for the bumps, against differences: {check}")

    print("\nDistance from the curve without noise, root of the mean square:")
    models = {}
    for name, network in NETWORKS.items():
        optimizer = Adam(CosineDecay(0.02, steps=10 * options.epochs))
        models[name] = model = anynet.Model(network, MSELoss(), optimizer, backend=options.backend)
        model.fit(x, y, epochs=options.epochs, batch_size=50)
        distance = np.sqrt(((model.predict(GRID) - curve(GRID)) ** 2).mean())
        print(f"  {name:6} {distance:.3f}, with {sum(array.size for array in model.parameters.values()):2} parameters")
    draw(options.out, x, y, models)


def draw(path: str, x: np.ndarray, y: np.ndarray, models: dict[str, anynet.Model]) -> None:
    try:
        import matplotlib
    except ImportError:
        print("The picture needs matplotlib: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (fits, bumps) = plt.subplots(2, 1, figsize=(10, 8), layout="constrained", sharex=True)
    fits.plot(x, y, ".", color="lightgray", label="data")
    fits.plot(GRID, curve(GRID), color="black", linewidth=4, alpha=0.3, label="the curve without noise")
    for name, model in models.items():
        fits.plot(GRID, model.predict(GRID), label=name)
    fits.set(title="What each network makes of the data", ylabel="y")
    fits.legend(loc="lower left")
    # The output of the layer "0", which is Bumps, and what the Linear after it, "1", multiplies each bump by.
    model = models["bumps"]
    bumps.plot(GRID, model.activations(GRID)["0"] * model.parameters["1.weight"][:, 0])
    bumps.set(title=f"The {UNITS} bumps: with the bias, their sum is the fit", xlabel="x", ylabel="height")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Picture: {path}")


if __name__ == "__main__":
    main()
