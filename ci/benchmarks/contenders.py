"""Who is compared. Each makes the workload's network from the same weights, and trains it on rows in a given order.

Peers are written as their own documentation writes a fast loop, and are given float32 data prepared beforehand.
"""

from __future__ import annotations

import time
import warnings
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
from networks import in_torch
from workloads import Data, Workload, as_floats


class Contender:
    """A network being trained; `train` goes through rows once and returns the mean loss as it trained."""

    name: ClassVar[str]
    # Of the last `train`, where it is measured inside, with the data where they are used, as all peers have them.
    seconds: float | None = None

    def __init__(self, workload: Workload, data: Data) -> None:
        self.workload = workload

    def train(self, turn: int) -> float | None:
        raise NotImplementedError

    def predict(self, x: Any) -> Any:
        """The network's outputs, or their softmax, as a NumPy array, for rows as they are stored."""
        raise NotImplementedError

    def batches(self, turn: int) -> Any:
        order, size = self.workload.order(turn), self.workload.batch_size
        return (order[start : start + size] for start in range(0, len(order), size))


class Anynet(Contender):
    backend: ClassVar[str]

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.x, self.y = data.x, data.y
        self.model = workload.model(self.backend).build(self.x.shape[1:])

    def train(self, turn: int) -> float:
        self.model.epoch = turn
        record = self.model.fit(self.x, self.y, batch_size=self.workload.batch_size)[0]
        self.seconds = record["seconds"]
        return record["loss"]

    def predict(self, x: Any) -> Any:
        return self.model.predict(x)


class AnynetNumPy(Anynet):
    name = "anynet-numpy"
    backend = "numpy"


class AnynetJAX(Anynet):
    name = "anynet-jax"
    backend = "jax"


class AnynetTorch(Anynet):
    name = "anynet-torch"
    backend = "torch"


class AnynetCuPy(Anynet):
    name = "anynet-cupy"
    backend = "cupy"


class ScikitLearn(Contender):
    name = "scikit-learn"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        from sklearn.neural_network import MLPClassifier

        self.x, self.y = data.floats, data.y
        self.model = MLPClassifier(
            workload.sizes[1:-1],
            solver="adam" if workload.optimizer == "adam" else "sgd",
            alpha=0.0,
            batch_size=workload.batch_size,
            learning_rate_init=workload.lr,
            momentum=0.9 if workload.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
        )
        # The first call makes weights and an optimizer that holds on to them: give it ours at that moment.
        first_weights = [weight.copy() for weight, _ in data.weights], [bias.copy() for _, bias in data.weights]
        initialize, fit = type(self.model)._initialize, type(self.model)._fit_stochastic

        def initialize_with_ours(model: Any, *arguments: Any) -> None:
            initialize(model, *arguments)
            model.coefs_, model.intercepts_ = first_weights

        def timed_fit(model: Any, *arguments: Any) -> None:
            # Without the checks of the data that come first, as with every other contender.
            started = time.perf_counter()
            fit(model, *arguments)
            self.seconds = time.perf_counter() - started

        self.patched = patch.multiple(type(self.model), _initialize=initialize_with_ours, _fit_stochastic=timed_fit)

    def train(self, turn: int) -> float:
        order = self.workload.order(turn)
        module = "sklearn.neural_network._multilayer_perceptron"
        with self.patched, patch(f"{module}.shuffle", lambda *_, **__: order), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model.partial_fit(self.x, self.y, classes=np.arange(self.workload.sizes[-1]))
        return float(self.model.loss_)

    def predict(self, x: Any) -> Any:
        return self.model.predict_proba(as_floats(x))


class TorchEager(Contender):
    name = "PyTorch eager"
    device: ClassVar[str] = "cpu"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        import torch

        self.torch = torch
        self.y = torch.from_numpy(data.y.astype(np.int64)).to(self.device)
        self.network, x = in_torch(workload.layers, data.parameters, data.x) if workload.layers else self._dense(data)
        self.network, self.x = self.network.to(self.device), x.to(self.device)
        parameters = self.network.parameters()
        momentum = 0.9 if workload.optimizer == "momentum" else 0.0
        adam = workload.optimizer == "adam"
        sgd = torch.optim.SGD
        self.optimizer = torch.optim.Adam(parameters, workload.lr) if adam else sgd(parameters, workload.lr, momentum)

    def _dense(self, data: Data) -> tuple[Any, Any]:
        torch = self.torch
        layers: list[Any] = []
        for weight, bias in data.weights:
            linear = torch.nn.Linear(*weight.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1]), torch.from_numpy(data.floats)

    def loss(self, x: Any, y: Any) -> Any:
        return self.torch.nn.functional.cross_entropy(self.network(x), y)

    def update(self) -> None:
        self.optimizer.step()

    def train(self, turn: int) -> float:
        total = self.torch.zeros((), device=self.device)
        for batch in self.batches(turn):
            rows = self.torch.from_numpy(batch).to(self.device)
            loss = self.loss(self.x[rows], self.y[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.update()
            total += loss.detach() * len(batch)
        return float(total) / self.workload.rows

    def predict(self, x: Any) -> Any:
        with self.torch.inference_mode():
            return self.network(self.torch.from_numpy(as_floats(x))).numpy()


class TorchCompiled(TorchEager):
    name = "PyTorch compiled"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.loss = self.torch.compile(super().loss)
        self.update = self.torch.compile(super().update)
        self.compiled = self.torch.compile(self.network)

    def predict(self, x: Any) -> Any:
        with self.torch.inference_mode():
            return self.compiled(self.torch.from_numpy(as_floats(x))).numpy()


class JAXByHand(Contender):
    """A whole epoch in one compiled scan, as fast as we know to write it: data on the device, weights donated."""

    name = "JAX by hand"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        import jax
        import jax.numpy as jnp

        self.x, self.y = jnp.asarray(data.floats), jnp.asarray(data.y.astype(np.int32))
        self.weights = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in data.weights]
        zeros = jax.tree.map(jnp.zeros_like, self.weights)
        remembered = {"sgd": (), "momentum": zeros, "adam": (zeros, jax.tree.map(jnp.zeros_like, zeros), 0.0)}
        self.state = remembered[workload.optimizer]
        lr = workload.lr

        def network(weights: Any, x: Any) -> Any:
            for weight, bias in weights[:-1]:
                x = jax.nn.relu(x @ weight + bias)
            return x @ weights[-1][0] + weights[-1][1]

        def loss_of(weights: Any, x: Any, y: Any) -> Any:
            scores = jax.nn.log_softmax(network(weights, x))
            return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

        def sgd(weights: Any, gradient: Any, state: Any) -> Any:
            return jax.tree.map(lambda w, g: w - lr * g, weights, gradient), state

        def momentum(weights: Any, gradient: Any, velocity: Any) -> Any:
            velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
            return jax.tree.map(lambda w, v: w - lr * v, weights, velocity), velocity

        def adam(weights: Any, gradient: Any, state: Any) -> Any:
            mean, square, step = state
            step += 1
            mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradient)
            square = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, square, gradient)
            rate = lr * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            moved = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-8), weights, mean, square)
            return moved, (mean, square, step)

        update = {"sgd": sgd, "momentum": momentum, "adam": adam}[workload.optimizer]

        def epoch(weights: Any, state: Any, x: Any, y: Any, batches: Any) -> Any:
            def step(carry: Any, rows: Any) -> Any:
                loss, gradient = jax.value_and_grad(loss_of)(carry[0], x[rows], y[rows])
                return update(carry[0], gradient, carry[1]), loss

            (weights, state), losses = jax.lax.scan(step, (weights, state), batches)
            return weights, state, losses.sum() * batches.shape[1]

        self.epoch = jax.jit(epoch, donate_argnums=(0, 1))
        self.network = jax.jit(network)

    def train(self, turn: int) -> float:
        order, size = self.workload.order(turn), self.workload.batch_size
        whole = len(order) // size * size
        totals = []
        for rows in (order[:whole].reshape(-1, size), order[None, whole:]):
            if rows.size:
                self.weights, self.state, total = self.epoch(self.weights, self.state, self.x, self.y, rows)
                totals.append(total)
        return float(sum(totals)) / len(order)

    def predict(self, x: Any) -> Any:
        return np.asarray(self.network(self.weights, as_floats(x)))


class Thinc(Contender):
    name = "Thinc"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        from thinc.api import SGD, Adam, Linear, Relu, chain

        if workload.optimizer == "momentum":
            raise NotImplementedError("Thinc's SGD has no momentum")
        self.x, self.y = data.floats, data.y
        layers = [Relu(size) for size in workload.sizes[1:-1]]
        self.model = chain(*layers, Linear(workload.sizes[-1]))
        self.model.initialize(self.x[:2], np.zeros((2, workload.sizes[-1]), np.float32))
        for layer, (weight, bias) in zip(self.model.layers, data.weights, strict=True):
            layer.set_param("W", np.ascontiguousarray(weight.T))
            layer.set_param("b", bias.copy())
        plain = {"L2": 0.0, "grad_clip": 0.0, "use_averages": False}
        self.optimizer = (Adam if workload.optimizer == "adam" else SGD)(workload.lr, **plain)

    def train(self, turn: int) -> float:
        total = 0.0
        for rows in self.batches(turn):
            scores, backward = self.model.begin_update(self.x[rows])
            loss, gradient = softmax_cross_entropy(scores, self.y[rows])
            total += loss
            backward(gradient)
            self.model.finish_update(self.optimizer)
        return total / self.workload.rows

    def predict(self, x: Any) -> Any:
        return self.model.predict(as_floats(x))


class PlainNumPy(Contender):
    """The loop as a lesson writes it: float32 throughout, one-hot by fancy indexing, no framework."""

    name = "plain NumPy loop"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.x, self.y = data.floats, data.y
        self.weights = [weight.copy() for weight, _ in data.weights]
        self.biases = [bias.copy() for _, bias in data.weights]
        self.velocity = [np.zeros_like(p) for p in self.weights + self.biases]
        self.square = [np.zeros_like(p) for p in self.weights + self.biases]
        self.steps = 0

    def forward(self, x: Any) -> list[Any]:
        activations = [x]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            activations.append(np.maximum(activations[-1] @ weight + bias, 0))
        return [*activations, activations[-1] @ self.weights[-1] + self.biases[-1]]

    def train(self, turn: int) -> float:
        total = 0.0
        for rows in self.batches(turn):
            *activations, scores = self.forward(self.x[rows])
            loss, dz = softmax_cross_entropy(scores, self.y[rows])
            total += loss
            dweights, dbiases = [], []
            for layer in reversed(range(len(self.weights))):
                dweights.insert(0, activations[layer].T @ dz)
                dbiases.insert(0, dz.sum(axis=0))
                if layer:
                    dz = (dz @ self.weights[layer].T) * (activations[layer] > 0)
            self.update(dweights + dbiases)
        return total / self.workload.rows

    def update(self, gradients: list[Any]) -> None:
        lr = self.workload.lr
        self.steps += 1
        rate = lr * float(np.sqrt(1 - 0.999**self.steps)) / (1 - 0.9**self.steps)
        for i, (w, g) in enumerate(zip(self.weights + self.biases, gradients, strict=True)):
            if self.workload.optimizer == "sgd":
                w[...] -= lr * g
            elif self.workload.optimizer == "momentum":
                self.velocity[i] = 0.9 * self.velocity[i] + g
                w[...] -= lr * self.velocity[i]
            else:
                self.velocity[i] = 0.9 * self.velocity[i] + 0.1 * g
                self.square[i] = 0.999 * self.square[i] + 0.001 * g**2
                w[...] -= rate * self.velocity[i] / (np.sqrt(self.square[i]) + 1e-8)

    def predict(self, x: Any) -> Any:
        return self.forward(as_floats(x))[-1]


class Floor(Contender):
    """The matrix products of each step alone, through NumPy, on operands that stay where they are."""

    name = "floor"

    def __init__(self, workload: Workload, data: Data) -> None:
        super().__init__(workload, data)
        self.weights = [weight.copy() for weight, _ in data.weights]
        generator = np.random.default_rng(0)
        self.activations = [
            generator.standard_normal((workload.batch_size, size), np.float32) for size in workload.sizes
        ]

    def train(self, turn: int) -> None:
        activations, weights = self.activations, self.weights
        for _ in self.batches(turn):
            for x, weight in zip(activations, weights, strict=False):
                x.dot(weight)
            for layer in reversed(range(len(weights))):
                activations[layer].T.dot(activations[layer + 1])
                if layer:
                    activations[layer + 1].dot(weights[layer].T)

    def predict(self, x: Any) -> Any:
        x = np.ones((len(x), self.workload.sizes[0]), np.float32)
        for weight in self.weights:
            x = x.dot(weight)
        return x


def softmax_cross_entropy(scores: Any, y: Any) -> tuple[float, Any]:
    """The sum of the losses, and the gradient of their mean, which takes the place of `scores`."""
    scores = scores - scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    picked = (np.arange(len(y)), y)
    loss = -np.log(scores[picked]).sum()
    scores[picked] -= 1
    scores /= len(y)
    return float(loss), scores


CONTENDERS = {
    contender.name: contender
    for contender in (
        AnynetNumPy,
        AnynetJAX,
        AnynetTorch,
        AnynetCuPy,
        ScikitLearn,
        TorchEager,
        TorchCompiled,
        JAXByHand,
        Thinc,
        PlainNumPy,
        Floor,
    )
}
