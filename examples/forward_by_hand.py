"""A forward pass and its error, small enough to follow on paper.

Two inputs go to two hidden neurons and on to one output, with no activation: every neuron multiplies each of
its inputs by a weight, adds the products up and adds its bias. The mean squared error says how far the
prediction is from the target. One small step against the gradient must then make it smaller.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import SGD, Linear, MSELoss, Sequential, Values

X = np.asarray([[1.0, 2.0]])
TARGET = np.asarray([[2.0]])

# A row for each neuron, as in z = W x + b. A Linear computes y = x W + b, with a column for each neuron.
HIDDEN_WEIGHTS = np.asarray([[0.5, -0.1], [0.3, 0.6]])
OUTPUT_WEIGHTS = np.asarray([[-1.2, 0.02]])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate of the one update (default: %(default)s)")
    options = parser.parse_args(arguments)

    hidden = Linear(2, weight=Values(HIDDEN_WEIGHTS.T), bias=Values([0.2, 0.3]))
    output = Linear(1, weight=Values(OUTPUT_WEIGHTS.T), bias=Values([2.1]))

    def model_of(network: Sequential) -> anynet.Model:
        return anynet.Model(network, MSELoss(), SGD(lr=options.lr), backend=options.backend, dtype="float64")

    z1, z2 = model_of(Sequential(hidden)).predict(X)[0]
    model = model_of(Sequential(hidden, output))
    prediction = model.predict(X)[0, 0]
    loss = model.evaluate(X, TARGET)["loss"]
    print(f"z1: {z1:g}, z2: {z2:g}, Prediction: {prediction:g}, MSE: {loss:g}")

    before = model.parameters
    model.fit(X, TARGET)
    print(f"\nOne update, w <- w - {options.lr:g} dL/dw:")
    for name, after in model.parameters.items():
        for old, new in zip(before[name].flat, after.flat, strict=True):
            print(f"  {name:8}  {old:5g} - {options.lr:g} * {(old - new) / options.lr:9.6f} = {new:9.6f}")
    prediction = model.predict(X)[0, 0]
    print(f"Prediction: {prediction:.6f}, MSE: {model.evaluate(X, TARGET)['loss']:.6f}, which was {loss:g}")


if __name__ == "__main__":
    main()
