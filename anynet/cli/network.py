"""The network that `anynet train` makes for data."""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple

import numpy as np

from anynet import nn
from anynet.cli.config import CNN, MLP, TrainConfig
from anynet.cli.data import mean_and_std
from anynet.cli.task import Task
from anynet.datasets.reading import machine_memory
from anynet.errors import ShapeError, UsageError, shown
from anynet.model.data_validation import check_inputs, check_targets
from anynet.nn import Layer
from anynet.nn.layer import Shape
from anynet.nn.text import parse

# For initial values, weights, gradient, momentum and intermediate results, measured on NumPy.
_BYTES_A_WEIGHT = 40
# For what each layer makes of a sample, and its gradient.
_BYTES_AN_OUTPUT = 8
_KNOWN = (*nn.LAYERS, *nn.INITIALIZERS)

ACTIVATIONS: dict[str, tuple[Layer, Any]] = {
    "relu": (nn.ReLU(), nn.HeNormal()),
    "leaky_relu": (nn.LeakyReLU(), nn.HeNormal()),
    "sigmoid": (nn.Sigmoid(), nn.GlorotUniform()),
    "tanh": (nn.Tanh(), nn.GlorotUniform()),
}


class Layers(NamedTuple):
    """What a config says of a network: what changes images at random, the layers before the output layer, and that."""

    augment: list[Layer]
    inner: list[Layer]
    weight: Any


def layers_of(config: TrainConfig) -> Layers:
    """The layers that a config names, whatever the data.

    Raises
    ------
    UsageError
        When a text describes no layers, or an option is for another kind of network.
    """
    dropout = [nn.Dropout(config.dropout)] if config.dropout else []
    augment = [] if config.augment is None else list(parse(config.augment, _KNOWN).layers)
    if config.network == MLP:
        function, weight = ACTIVATIONS[config.activation]
        hidden = [layer for size in config.hidden for layer in (nn.Linear(size, weight), function, *dropout)]
        return Layers(augment, [nn.Flatten(), *hidden], weight)
    for name in ("hidden", "activation"):
        if getattr(config, name) != getattr(TrainConfig, name):
            raise UsageError(f"{name} is an option of --network {MLP}; another network has its own layers")
    text = CNN if config.network == "cnn" else config.network
    return Layers(augment, [*parse(text, _KNOWN).layers, *dropout], nn.HeNormal())


def network_for(x: Any, task: Task, config: TrainConfig) -> nn.Sequential:
    """The network of a config, between layers that take x as it is and a Linear with an output for each of the task's.

    Bytes are scaled to 0..1, other numbers standardised, unless they are indices. Images get an axis for their channel
    if the layers want one.

    Raises
    ------
    UsageError
        When the network does not fit x, or this machine does not have enough memory.
    """
    layers = layers_of(config)
    try:
        network = nn.Sequential(*_inputs(x, layers.augment, layers.inner), nn.Linear(task.outputs, layers.weight))
        _check_fits(network, x.shape[1:])
    except ShapeError as error:
        raise UsageError(f"the network does not fit samples of shape {x.shape[1:]}: {error}") from None
    _say_if_channels_come_first(network, x.shape[1:])
    _check_memory(network, x.shape[1:], config.batch_size)
    return network


def _inputs(x: Any, augment: list[Layer], inner: list[Layer]) -> list[Layer]:
    shape = x.shape[1:]
    if not augment and isinstance(inner[0], nn.Flatten) and x.dtype != np.uint8:
        return [nn.Flatten(), _standardised(x, math.prod(shape)), *inner[1:]]
    image = nn.Sequential(*augment, *inner)
    with_channel = [nn.Reshape((*shape, 1))] if len(shape) == 2 and not _takes(image, shape) else []
    if image.indices is not None:
        return [*with_channel, *augment, *inner]
    scaled = nn.Rescale(1 / 255) if x.dtype == np.uint8 else _standardised(x, 1 if with_channel else shape[-1])
    if isinstance(inner[0], nn.Masking) and not augment:
        # Inside, since scaled padding would no longer be known by its value.
        return [*with_channel, inner[0].having(scaled, *inner[0].layers), *inner[1:]]
    return [*with_channel, scaled, *augment, *inner]


def _takes(layer: Layer, shape: Shape) -> bool:
    try:
        layer.parameters(shape)
    except ShapeError:
        return False
    return True


def _standardised(x: Any, columns: int) -> nn.Rescale:
    mean, spread = mean_and_std(x, columns)
    return nn.Rescale(scale=1 / spread, shift=mean)


def _check_fits(network: nn.Sequential, shape: Shape) -> None:
    _, made = nn.Sequential(*network.layers[:-1]).parameters(shape)
    if len(made) != 1:
        raise ShapeError(f"it ends in samples of shape {made}, but the output layer takes rows: add Flatten()")


def _say_if_channels_come_first(network: nn.Sequential, shape: Shape) -> None:
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] > 4 and any(map(_is_image_layer, network.layers)):
        print(
            f"samples of shape {shape} look like images with their channels first; the network takes (height, width, "
            "channels): if so, save x.transpose(0, 2, 3, 1)",
            file=sys.stderr,
        )


def _is_image_layer(layer: Layer) -> bool:
    return type(layer).__name__.endswith("2d")


def _check_memory(network: nn.Sequential, shape: Shape, batch_size: int) -> None:
    weights, made = _weights(network, shape), 0
    for layer in network.layers:
        _, shape = layer.parameters(shape)
        made += math.prod(shape)
    needed = weights * _BYTES_A_WEIGHT + batch_size * made * _BYTES_AN_OUTPUT
    if needed > (memory := machine_memory()):
        raise UsageError(
            f"a network of {weights:,} weights, which makes {made:,} numbers of each sample, takes some "
            f"{needed / 2**30:,.0f} GiB to train, but this machine has {memory / 2**30:,.0f}; make hidden layers "
            "(--hidden, --network) or batches smaller"
        )


def in_words(network: nn.Sequential, config: TrainConfig, shape: Shape) -> str:
    """A network as one short line: the sizes of a fully connected one, or as the config names it."""
    if config.network == MLP:
        sizes = [layer.out_features for layer in network.layers if isinstance(layer, nn.Linear)]
        return "-".join(map(str, (math.prod(shape), *sizes)))
    return f"{shown(config.network, longest=80)} of {_weights(network, shape):,} weights"


def _weights(network: nn.Sequential, shape: Shape) -> int:
    return sum(math.prod(entry.parameter.shape) for entry in nn.Layout(network, shape).parameters)


def imprecise_columns(network: nn.Sequential, task: Task) -> list[str]:
    """The columns whose mean is so large, compared to their spread, that float32 blurs the differences."""
    rescale = next((layer for layer in network.layers if isinstance(layer, nn.Rescale)), None)
    if rescale is None or not isinstance(rescale.scale, tuple):
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
    check_inputs(x, trained_on.shape[1:], network.indices)
    _, out_shape = network.parameters(trained_on.shape[1:])
    check_targets(task.encode(y), len(x), task.loss, out_shape)
