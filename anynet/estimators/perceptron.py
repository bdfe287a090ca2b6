"""The layers, initial weights and optimizers of scikit-learn's multi-layer perceptrons."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any

import numpy as np

from anynet.estimators.array_library import host
from anynet.estimators.base import NetEstimator
from anynet.estimators.sklearn_optimizers import SklearnAdam, SklearnSGD
from anynet.nn import (
    BatchNorm,
    Dropout,
    Layer,
    LayerNorm,
    Linear,
    Optimizer,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)

ACTIVATIONS: dict[str, Layer | None] = {"identity": None, "logistic": Sigmoid(), "tanh": Tanh(), "relu": ReLU()}
SMALLEST_LEARNING_RATE = 1e-6


@dataclass(eq=False, repr=False)
class Perceptron(NetEstimator):
    """Base class of the two multi-layer perceptrons: layers, an optimizer, and scikit-learn's learned attributes."""

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    max_fun: int = 15000
    dropout: float = 0.0
    batch_norm: bool = False
    layer_norm: bool = False

    def _network(self, outputs: int) -> Sequential:
        layers: list[Layer | None] = []
        for size, activation in zip(self._hidden(), self._activations(), strict=True):
            layers += [
                Linear(size),
                BatchNorm() if self.batch_norm else None,
                LayerNorm() if self.layer_norm else None,
                activation,
                Dropout(self.dropout) if self.dropout else None,
            ]
        return Sequential(*filter(None, layers), Linear(outputs))

    def _hidden(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(not isinstance(size, Integral) for size in sizes):
            raise TypeError(f"hidden_layer_sizes must be whole numbers, got {sizes}.")
        sizes = [int(size) for size in sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _activations(self) -> list[Layer | None]:
        hidden = self._hidden()
        given = self.activation
        each = list(given) if isinstance(given, (list, tuple)) else [given] * len(hidden)
        if len(each) != len(hidden):
            raise ValueError(f"activation must be one, or one for each of the {len(hidden)} hidden layers: {given!r}")
        for activation in each:
            if isinstance(activation, str) and activation not in ACTIVATIONS:
                raise ValueError(
                    f"activation must be a layer, or among {set(ACTIVATIONS)}. Got {activation!r} instead."
                )
            if not isinstance(activation, str) and (not isinstance(activation, Layer) or activation.trainable):
                raise ValueError(f"activation must be a layer without anything to train, but is {activation!r}")
        return [ACTIVATIONS[one] if isinstance(one, str) else one for one in each]

    def _optimizer(self) -> Optimizer:
        if self.optimizer is not None:
            return self.optimizer
        if self.solver == "adam":
            return SklearnAdam(self.learning_rate_init, betas=(self.beta_1, self.beta_2), eps=self.epsilon)
        nesterov = bool(self.nesterovs_momentum and self.momentum)
        return SklearnSGD(self.learning_rate_init, momentum=self.momentum, nesterov=nesterov)

    def _minimizes(self) -> bool:
        return self.solver == "lbfgs" and self.optimizer is None

    @property
    def _l2(self) -> float:
        return float(self.alpha)

    def _first_arrays(self, network: Any, random: Any) -> dict[str, Any]:
        """Draw weights and biases uniformly within Glorot's bound, as scikit-learn does."""
        (inputs,) = self._sample_shape
        factor = 2.0 if self.activation == "logistic" else 6.0
        arrays = {}
        for i, layer in enumerate(network.layers):
            if isinstance(layer, Linear):
                outputs = layer.out_features
                bound = np.sqrt(factor / (inputs + outputs))
                arrays[f"{i}.weight"] = random.uniform(-bound, bound, (inputs, outputs))
                arrays[f"{i}.bias"] = random.uniform(-bound, bound, outputs)
                inputs = outputs
        return arrays

    def _next_learning_rate(self, rate: Any, stalled: bool) -> Any:
        if self.optimizer is None and self.solver == "sgd":
            if self.learning_rate == "invscaling":
                rate = self.learning_rate_init / (self.t_ + 1) ** self.power_t
            if self.learning_rate == "adaptive" and stalled and rate > SMALLEST_LEARNING_RATE:
                return rate / 5
        return None if stalled else rate

    def _last_words(self) -> str:
        adapts = self.optimizer is None and self.solver == "sgd" and self.learning_rate == "adaptive"
        return "Learning rate too small. Stopping." if adapts else "Stopping."

    @property
    def coefs_(self) -> list[Any]:
        """Copies of each layer's weights, of shape (inputs, outputs); assign a new list to change them."""
        return self._learned("weight")

    @coefs_.setter
    def coefs_(self, arrays: Any) -> None:
        self._learn("weight", arrays)

    @property
    def intercepts_(self) -> list[Any]:
        """Copies of each layer's biases, of shape (outputs,); assign a new list to change them."""
        return self._learned("bias")

    @intercepts_.setter
    def intercepts_(self, arrays: Any) -> None:
        self._learn("bias", arrays)

    def _names(self, last: str) -> list[str]:
        if not self.__sklearn_is_fitted__():
            raise AttributeError(f"{type(self).__name__} is not fitted yet")
        layers = self._model.network.layers  # type: ignore[attr-defined]
        return [f"{i}.{last}" for i, layer in enumerate(layers) if isinstance(layer, Linear)]

    def _learned(self, last: str) -> list[Any]:
        names, arrays = self._names(last), self._model.parameters
        for name in names:
            # A change in place would not reach the model, so NumPy must refuse it.
            arrays[name].flags.writeable = False
        return [self._library.give(arrays[name]) for name in names]

    def _learn(self, last: str, given: Any) -> None:
        names, arrays = self._names(last), self._model.parameters
        new = {name: np.asarray(host(array), arrays[name].dtype) for name, array in zip(names, given, strict=False)}
        if len(given) != len(names) or any(new[name].shape != arrays[name].shape for name in names):
            shapes = [arrays[name].shape for name in names]
            raise ValueError(
                f"expected {len(names)} arrays of the shapes {shapes}, but got {[np.shape(a) for a in given]}"
            )
        self._model.put({**arrays, **new})

    @property
    def n_layers_(self) -> int:
        return len(self._names("weight")) + 1
