"""Layers around another layer, which change how its parameters are treated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from anynet.errors import ShapeError, UsageError, shown
from anynet.nn.containers import Wrapper
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameter, Parameters, Shape, Specs, check_layer


@dataclass(frozen=True)
class Frozen(Wrapper):
    """A layer that is not trained: it computes as in evaluation, and the gradient passes through it.

    Its parameters become buffers of the same names, which no optimizer, weight decay or clipping touches. Also in
    training, dropout in it is off, and batch normalization uses its running statistics and does not update them. (In
    PyTorch that takes both ``requires_grad_(False)`` and ``eval()``.)

    Parameters
    ----------
    layer : Layer
        The layer to freeze, such as the first layers of a network: ``Frozen(network[:4])``.

    Raises
    ------
    UsageError
        When `layer` is not a layer.

    To fine-tune the last layer of a trained network, freeze the layers before it one by one. Their positions, and so
    the names of their weights, stay the same.

    >>> import numpy as np
    >>> from anynet import Model
    >>> from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> network = Sequential(Linear(8), ReLU(), Linear(1))
    >>> trained = Model(network, MSELoss(), SGD(0.1))
    >>> _ = trained.fit(x, x**2, epochs=5)
    >>> partly = Sequential(*map(Frozen, network[:-1]), network[-1])
    >>> tuned = Model(partly, MSELoss(), SGD(0.01)).build((1,), trained.parameters)
    >>> _ = tuned.fit(x, x**3, epochs=5)
    >>> [name for name in tuned.parameters if (tuned.parameters[name] != trained.parameters[name]).any()]
    ['2.weight', '2.bias']
    """

    trainable = False
    layer: Layer

    def __post_init__(self) -> None:
        check_layer(self.layer, "the layer to be Frozen")

    def around(self, name: str, inner: Layer) -> Layer:
        return Frozen(inner)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs, out_shape = self.layer.parameters(shape)
        return _as_buffers(specs), out_shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        return self.layer.forward(xp, p, x, replace(ctx, training=False))

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        return self.layer.backward(xp, p, saved, dy)[0] if need_dx else None, {}


@dataclass(frozen=True)
class Shared(Wrapper):
    """A layer in several places of a network with one set of weights: all `Shared` of one name have the same.

    Their gradients are summed. A buffer, such as a running mean, becomes the mean of what it would at each place. The
    weights are named by the first place. (In PyTorch and Keras the same object is used twice. Layers here are compared
    by value, and a file has no objects, so the name says it.)

    Parameters
    ----------
    layer : Layer
        The same layer at each place, for inputs of the same shape.
    name : str

    Raises
    ------
    UsageError
        When `layer` is not a layer, or `name` is no text.

    >>> from anynet import Model
    >>> from anynet.nn import SGD, Linear, MSELoss, ReLU, Sequential
    >>> tower = Shared(Linear(4), "tower")
    >>> model = Model(Sequential(tower, ReLU(), tower, ReLU(), Linear(1)), MSELoss(), SGD(0.1)).build((4,))
    >>> list(model.parameters)
    ['0.weight', '0.bias', '4.weight', '4.bias']
    """

    layer: Layer
    name: str

    def __post_init__(self) -> None:
        check_layer(self.layer, "the layer to be Shared")
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"Shared needs a name, such as Shared(Linear(8), 'tower'), but got {shown(self.name)}")

    @property
    def trainable(self) -> bool:
        return self.layer.trainable

    @property
    def stochastic(self) -> bool:
        return self.layer.stochastic

    @property
    def updates_buffers(self) -> bool:
        return self.layer.updates_buffers

    def around(self, name: str, inner: Layer) -> Layer:
        return Shared(inner, f"{self.name}.{name}")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs, out_shape = self.layer.parameters(shape)
        return _as_shared(specs, (self.name,)), out_shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        return self.layer.forward(xp, p, x, ctx)

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        return self.layer.backward(xp, p, saved, dy, need_dx)

    def update_buffers(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        return self.layer.update_buffers(xp, p, saved)


def check_shared(parameters: Iterable[tuple[tuple[str, ...], Parameter]]) -> None:
    """Refuse `Shared` layers of one name whose parameters, given with their paths, are not the same."""
    groups: dict[str, dict[tuple[str, ...], dict[str, Parameter]]] = {}
    for path, parameter in parameters:
        if parameter.shared:
            name, *inside = parameter.shared
            groups.setdefault(name, {}).setdefault(path[: -len(inside)], {})[".".join(inside)] = parameter
    for name, places in groups.items():
        (first, expected), *others = places.items()
        for place, found in others:
            both = f"{'.'.join(first)} and {'.'.join(place)} are Shared as {name!r}, but"
            one, other = ({name: p.shape for name, p in here.items()} for here in (expected, found))
            if one != other:
                raise ShapeError(
                    f"{both} their weights have the shapes {one} and {other}: give both inputs of one shape"
                )
            if found != expected:
                raise UsageError(f"{both} differ in how weights start, or are trained: give both the same layer")


def _as_buffers(specs: Specs) -> dict[str, Parameter | Specs]:
    return {
        name: replace(spec, trainable=False) if isinstance(spec, Parameter) else _as_buffers(spec)
        for name, spec in specs.items()
    }


def _as_shared(specs: Specs, path: tuple[str, ...]) -> dict[str, Parameter | Specs]:
    """Specs that say what they are shared as; those of a `Shared` inside say it already."""
    return {
        name: replace(spec, shared=spec.shared or (*path, name))
        if isinstance(spec, Parameter)
        else _as_shared(spec, (*path, name))
        for name, spec in specs.items()
    }
