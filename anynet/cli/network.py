"""The network that `anynet train` makes for data."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from anynet import nn
from anynet.cli.data import mean_and_std
from anynet.cli.task import Task
from anynet.datasets.reading import machine_memory
from anynet.errors import UsageError
from anynet.model.data_validation import check_inputs, check_targets
from anynet.nn import Layer

# For initial values, weights, gradient, momentum and intermediate results, measured on NumPy.
_BYTES_A_WEIGHT = 40

ACTIVATIONS: dict[str, tuple[Layer, Any]] = {
    "relu": (nn.ReLU(), nn.HeNormal()),
    "leaky_relu": (nn.LeakyReLU(), nn.HeNormal()),
    "sigmoid": (nn.Sigmoid(), nn.GlorotUniform()),
    "tanh": (nn.Tanh(), nn.GlorotUniform()),
}


def network_for(x: Any, task: Task, hidden: tuple[int, ...], activation: str) -> nn.Sequential:
    """A fully connected network that takes x as it is: bytes scaled to 0..1, other columns standardised.

    Raises
    ------
    UsageError
        When this machine does not have enough memory to train it.
    """
    sizes = (math.prod(x.shape[1:]), *hidden, task.outputs)
    weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))
    if (needed := weights * _BYTES_A_WEIGHT) > (memory := machine_memory()):
        raise UsageError(
            f"a network of {weights:,} weights takes some {needed / 2**30:,.0f} GiB to train, but this machine has "
            f"{memory / 2**30:,.0f}; make hidden layers smaller (--hidden)"
        )
    function, weight = ACTIVATIONS[activation]
    if x.dtype == np.uint8:
        inputs: list[Layer] = [nn.Rescale(1 / 255), nn.Flatten()]
    else:
        mean, spread = mean_and_std(x)
        inputs = [nn.Flatten(), nn.Rescale(scale=1 / spread, shift=mean)]
    inner = [layer for size in hidden for layer in (nn.Linear(size, weight), function)]
    return nn.Sequential(*inputs, *inner, nn.Linear(task.outputs, weight))


def imprecise_columns(network: nn.Sequential, task: Task) -> list[str]:
    """The columns whose mean is so large, compared to their spread, that float32 blurs the differences."""
    rescale = next(layer for layer in network.layers if isinstance(layer, nn.Rescale))
    if not isinstance(rescale.scale, tuple):
        return []
    ratios = [abs(scale * shift) for scale, shift in zip(rescale.scale, rescale.shift, strict=True)]
    return [task.features[i] if task.features else str(i) for i, ratio in enumerate(ratios) if ratio > 1e5]


def check_split(network: nn.Sequential, task: Task, trained_on: Any, x: Any, y: Any) -> None:
    """Refuse held-out or test data that do not fit the training data, before training starts.

    Raises
    ------
    DataError
        When a label is not one of the classes, or samples or targets have another shape.
    """
    check_inputs(x, trained_on.shape[1:])
    _, out_shape = network.parameters(trained_on.shape[1:])
    check_targets(task.encode(y), len(x), task.loss, out_shape)
