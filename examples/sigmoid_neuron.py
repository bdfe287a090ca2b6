"""One sigmoid neuron to play with; then two questions that every network asks.

Change the inputs, the weights or the bias and watch the output and its error move. Below that: are the gradients
right, and what becomes of the sigmoid and the logarithm far from zero?
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import anynet
from anynet.backends import Backend
from anynet.nn import SGD, BCELoss, BCEWithLogitsLoss, Context, Linear, MSELoss, Sequential, Sigmoid

NEURON = Sequential(Linear(1), Sigmoid())


def squared_error(backend: Backend, x: np.ndarray, target: float, theta: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Output and error of the neuron with weights theta[:-1] and bias theta[-1], and the error's gradient."""
    p = {"0": {"weight": backend.asarray(theta[:-1, None]), "bias": backend.asarray(theta[-1:])}, "1": {}}
    x, wanted, one = (backend.asarray(np.asarray(values)) for values in (x[None, :], [[target]], [1.0]))
    with backend.scope():
        output, saved = NEURON.forward(backend.xp, p, x, Context())
        loss, doutput = MSELoss()(backend.xp, output, wanted, one)
        _, gradients = NEURON.backward(backend.xp, p, saved, doutput)
    gradient = np.concatenate([backend.to_numpy(gradients["0"][name]).ravel() for name in ("weight", "bias")])
    return backend.to_numpy(output).item(), backend.to_numpy(loss).item(), gradient


def check_gradients(backend: Backend, x: np.ndarray, target: float, theta: np.ndarray) -> None:
    print("\nGradient checking: nudge one number a little up and a little down, and see how the error changes.")
    print("        analytic     numerical  difference")
    _, _, analytic = squared_error(backend, x, target, theta)
    for i, slope in enumerate(analytic):
        nudge = 1e-6 * (np.arange(len(theta)) == i)
        up, down = (squared_error(backend, x, target, theta + step)[1] for step in (nudge, -nudge))
        numerical = (up - down) / 2e-6
        name = f"w{i + 1}" if i < len(x) else "b"
        print(f"{name:3} {slope:12.8f}  {numerical:12.8f}  {abs(slope - numerical):10.1e}")


def show_stability(backend: Backend) -> None:
    print(
        "\nNumerical stability: exp(-z) overflows from z = -710 down; from z = 37 up the sigmoid y rounds to 1, and so"
    )
    print("log(1 - y) is -inf. BCELoss keeps y and 1 - y at 1e-15 or above. BCEWithLogitsLoss takes z itself: exact.")
    print("                  naive     naive          naive    anynet     anynet             anynet")
    print("    z target    exp(-z)   sigmoid  cross-entropy   Sigmoid    BCELoss  BCEWithLogitsLoss")
    of_probability, of_logit = (
        anynet.Model(network, loss, SGD(lr=0.1), backend=backend)
        for network, loss in ((Sigmoid(), BCELoss()), (Sequential(), BCEWithLogitsLoss()))
    )
    for z, target in [(-1000, 1), (-1000, 0), (-710, 1), (-700, 1), (-2, 1), (2, 0), (37, 0), (37, 1), (1000, 0)]:
        with np.errstate(all="ignore"):
            exponential = np.exp(np.float64(-z))
            y = 1 / (1 + exponential)
            naive = -(target * np.log(y) + (1 - target) * np.log(1 - y))
        losses = [model.evaluate([[z]], [[target]])["loss"] for model in (of_probability, of_logit)]
        row = (exponential, y, naive, of_probability.predict([[z]]).item(), *losses)
        # Adding 0.0 turns -0.0 into 0.0.
        widths = (10, 9, 14, 9, 10, 18)
        print(f"{z:5} {target:6}", *(f"{value + 0.0:{width}.4g}" for value, width in zip(row, widths, strict=True)))


def numbers(text: str) -> np.ndarray:
    return np.asarray([float(number) for number in text.split(",")])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    backends = "array library to compute with: numpy, cupy, torch, jax or auto (default: %(default)s)"
    parser.add_argument("--backend", default="numpy", help=backends)
    parser.add_argument("--inputs", type=numbers, default="0.5,0.8", help="separated by commas (default: %(default)s)")
    weights = "one for each input (default: %(default)s); write --weights=-1,2 if the first is negative"
    parser.add_argument("--weights", type=numbers, default="0.4,0.7", help=weights)
    parser.add_argument("--bias", type=float, default=0.2, help="added to the weighted sum (default: %(default)s)")
    parser.add_argument("--target", type=float, default=1.0, help="the output that is wanted (default: %(default)s)")
    options = parser.parse_args(arguments)
    x, target, theta = options.inputs, options.target, np.append(options.weights, options.bias)
    if len(x) != len(options.weights):
        parser.error(f"{len(x)} inputs need as many weights, but there are {len(options.weights)}")
    backend = anynet.backends.select(options.backend, "float64")

    output, loss, _ = squared_error(backend, x, target, theta)
    print(f"z: {x @ options.weights + options.bias:g}, sigmoid(z): {output:.7f}, squared error: {loss:.7f}")
    check_gradients(backend, x, target, theta)
    check = anynet.gradcheck(NEURON, x[None, :], [[target]], loss=MSELoss(), backend=options.backend)
    print(f"anynet.gradcheck does the same, with weights of its own: worst relative error {check.error:.1e}")
    show_stability(backend)


if __name__ == "__main__":
    main()
