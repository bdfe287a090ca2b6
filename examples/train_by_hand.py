"""Training a 2-3-1 network by hand: every number of the forward pass, the backward pass and the update.

One sample, three ReLU neurons, half the squared error. Backward walks the layers in reverse order and hands
each one the gradient of the loss with respect to its output. The last part shows why the ReLU has to be
there: without it, two linear layers are one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.nn import SGD, Context, HalfMSELoss, Linear, ReLU, Sequential, Values

X = np.asarray([[1.0, 2.0]])
TARGET = np.asarray([[3.0]])

# A row for each neuron, as in z = W x + b. A Linear computes y = x W + b, with a column for each neuron.
W_IN, B_IN = np.asarray([[1.0, 2.0], [-3.0, 4.0], [1.0, -1.0]]), np.asarray([1.0, 2.0, 0.0])
W_OUT, B_OUT = np.asarray([[1.0, 2.0, 3.0]]), np.asarray([1.0])
HIDDEN = Linear(3, weight=Values(W_IN.T), bias=Values(B_IN))
OUTPUT = Linear(1, weight=Values(W_OUT.T), bias=Values(B_OUT))


def show(name: str, array: np.ndarray) -> None:
    print(f"{name:38}{text(np.squeeze(array))}")


def text(array: np.ndarray) -> str:
    return "[" + ", ".join(map(text, array)) + "]" if array.ndim else f"{array:g}"


def step_by_step(backend: anynet.backends.Backend) -> None:
    xp, ctx, to_numpy = backend.xp, Context(), backend.to_numpy
    x, target, one = backend.asarray(X), backend.asarray(TARGET), backend.asarray(np.ones(1))
    hidden = {"weight": backend.asarray(W_IN.T), "bias": backend.asarray(B_IN)}
    output = {"weight": backend.asarray(W_OUT.T), "bias": backend.asarray(B_OUT)}
    with backend.scope():
        z, hidden_saved = HIDDEN.forward(xp, hidden, x, ctx)
        h, relu_saved = ReLU().forward(xp, {}, z, ctx)
        y, output_saved = OUTPUT.forward(xp, output, h, ctx)
        loss, dy = HalfMSELoss()(xp, y, target, one)
        show("pre-activations z = W_in x + b_in", to_numpy(z))
        show("h = ReLU(z)", to_numpy(h))
        show("prediction y = W_out h + b_out", to_numpy(y))
        show("loss = (y - target)^2 / 2", to_numpy(loss))

        show("dL/dy", to_numpy(dy))
        dh, output_gradients = OUTPUT.backward(xp, output, output_saved, dy)
        show("dW_out", to_numpy(output_gradients["weight"]))
        show("db_out", to_numpy(output_gradients["bias"]))
        show("dz before the ReLU has its say", to_numpy(dh))
        dz, _ = ReLU().backward(xp, {}, relu_saved, dh)
        show("dz where z > 0, else 0", to_numpy(dz))
        _, hidden_gradients = HIDDEN.backward(xp, hidden, hidden_saved, dz, need_dx=False)
        show("dW_in", to_numpy(hidden_gradients["weight"]).T)
        show("db_in", to_numpy(hidden_gradients["bias"]))
    for neuron, column in enumerate(to_numpy(hidden_gradients["weight"]).T, start=1):
        if not column.any():
            print(f"Neuron {neuron} puts out 0, so it gets no gradient, and the update will leave it as it is.")
            print(
                "A neuron that puts out 0 for every sample never learns again: it is dead, and this is the dying ReLU."
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    backend = anynet.backends.select(parser.parse_args(arguments).backend, "float64")
    step_by_step(backend)

    def model_of(*layers: Linear | ReLU) -> anynet.Model:
        return anynet.Model(Sequential(*layers), HalfMSELoss(), SGD(lr=0.01), backend=backend)

    model = model_of(HIDDEN, ReLU(), OUTPUT)
    print("\nepoch      loss  prediction")
    updated: dict[str, np.ndarray] = {}
    for epoch in range(10):
        prediction = model.predict(X)[0, 0]
        loss = model.fit(X, TARGET)[0]["loss"]
        print(f"{epoch:5}  {loss:8.4f}  {prediction:10.4f}")
        updated = updated or model.parameters
    print("\nAfter the first of these updates, w <- w - 0.01 dL/dw:")
    for name, parameter in (("W_in", "0.weight"), ("b_in", "0.bias"), ("W_out", "2.weight"), ("b_out", "2.bias")):
        show(name, updated[parameter].T)

    print("\nWithout the ReLU, both layers collapse to W_new = W_out W_in and b_new = W_out b_in + b_out:")
    w_new, b_new = W_OUT @ W_IN, W_OUT @ B_IN + B_OUT
    show("W_new", w_new)
    show("b_new", b_new)
    points = np.asarray([[1.0, 2.0], [-1.0, 0.5], [0.0, 0.0], [3.0, -2.0]])
    show("inputs x", points)
    show("outputs of the two layers", model_of(HIDDEN, OUTPUT).predict(points))
    show("outputs of W_new x + b_new", model_of(Linear(1, Values(w_new.T), Values(b_new))).predict(points))
    show("outputs with the ReLU between", model_of(HIDDEN, ReLU(), OUTPUT).predict(points))


if __name__ == "__main__":
    main()
