"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from anynet.errors import ShapeError, UsageError
from anynet.nn.layer import (
    Array,
    Context,
    Layer,
    Namespace,
    Parameters,
    Shape,
    Specs,
    check_layer,
)


class Container(Layer):
    """A layer made of layers, each of which has its parameters under its name.

    Attributes
    ----------
    named : tuple of (str, Layer)
    """

    named: tuple[tuple[str, Layer], ...]

    @property
    def trainable(self) -> bool:
        return any(layer.trainable for _, layer in self.named)

    @cached_property
    def stochastic(self) -> bool:
        return any(layer.stochastic for _, layer in self.named)

    @cached_property
    def updates_buffers(self) -> bool:
        return any(layer.updates_buffers for _, layer in self.named)

    def within(self, xp: Namespace, x: Array, ctx: Context) -> Context:
        """The context of the layers, for x."""
        return ctx

    def given(self, name: str, x: Any, outputs: list[Any]) -> Any:
        """What the layer of this name is given: of x and the outputs of the layers before it, or of their shapes."""
        return outputs[-1] if outputs else x

    def joined(self, xp: Namespace, x: Array, outputs: list[Array]) -> Array:
        """The output for x, of those of the layers."""
        return outputs[-1] if outputs else x

    def update_buffers(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        return {
            name: layer.update_buffers(xp, p[name], kept)
            for (name, layer), kept in zip(self.named, saved, strict=True)
            if layer.updates_buffers
        }


@dataclass(frozen=True, init=False)
class Layers(Container):
    """A container that takes its layers one by one, and names them by position."""

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        kind = type(self).__name__
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            raise UsageError(f"{kind} takes its layers one by one: {kind}(*layers), not {kind}(layers)")
        for position, layer in enumerate(layers):
            check_layer(layer, f"layer {position} of {kind}")
        object.__setattr__(self, "layers", layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @cached_property
    def named(self) -> tuple[tuple[str, Layer], ...]:  # type: ignore[override]
        return tuple((str(i), layer) for i, layer in enumerate(self.layers))


@dataclass(frozen=True, init=False)
class Sequential(Layers):
    """One layer after the other; forward is a loop, backward the reversed loop.

    Parameters are named by position, as in PyTorch: ``0.weight``, ``2.bias``. Input sizes are inferred. It has a
    length, can be iterated over, and ``network[0]`` is a layer, ``network[:-1]`` a Sequential.

    Raises
    ------
    UsageError
        When one of the arguments is not a layer.
    ShapeError
        When a layer cannot take what the one before it gives; the message names the layer.

    >>> from anynet.nn import Linear, ReLU
    >>> network = Sequential(Linear(3), ReLU(), Linear(1))
    >>> specs, out_shape = network.parameters((2,))
    >>> specs["0"]["weight"].shape, out_shape
    ((2, 3), (1,))
    >>> len(network), network[-1].out_features, network[:1] == Sequential(Linear(3))
    (3, 1, True)
    """

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Layer | Sequential:
        return self.having(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def having(self, *layers: Layer) -> Sequential:
        """A container of the same kind with other layers."""
        return Sequential(*layers)

    @cached_property
    def _first_trainable(self) -> int:
        trainable = (i for i, layer in enumerate(self.layers) if layer.trainable)
        return next(trainable, len(self.layers))

    @property
    def accepts_uint8(self) -> bool | dict[str, Any]:
        return self.layers[0].accepts_uint8 if self.layers else False

    @property
    def indices(self) -> int | dict[str, Any] | None:
        return self.layers[0].indices if self.layers else None

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs: dict[str, Specs] = {}
        for name, layer in self.named:
            specs[name], shape = specs_at(name, layer, shape)
        return specs, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        saved, ctx = [], self.within(xp, x, ctx)
        for place, (name, layer) in enumerate(self.named):
            of_layer = ctx.at(place) if layer.stochastic else ctx
            x, kept = layer.forward(xp, p[name], x, of_layer)
            saved.append(kept)
        return x, saved

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        gradients = {}
        dx: Array | None = dy
        first = 0 if need_dx else self._first_trainable
        for i in reversed(range(first, len(self.layers))):
            name, layer = self.named[i]
            dx, gradients[name] = layer.backward(xp, p[name], saved[i], dx, need_dx or i > first)
        return dx if need_dx else None, gradients


class Wrapper(Layer):
    """A layer around another one, whose parameters have the same names.

    Attributes
    ----------
    layer : Layer
    """

    layer: Layer

    @property
    def accepts_uint8(self) -> bool | dict[str, Any]:
        return self.layer.accepts_uint8

    @property
    def indices(self) -> int | dict[str, Any] | None:
        return self.layer.indices

    def around(self, name: str, inner: Layer) -> Layer:
        """The same wrapper around this layer of the container that it wraps."""
        raise NotImplementedError


def children(layer: Layer) -> tuple[tuple[str, Layer], ...]:
    """The layers of a container by name, in the order in which it applies them; none for any other layer.

    >>> from anynet.nn import Frozen, ReLU
    >>> children(Frozen(Sequential(ReLU())))
    (('0', Frozen(layer=ReLU())),)
    """
    if isinstance(layer, Wrapper):
        return tuple((name, layer.around(name, inner)) for name, inner in children(layer.layer))
    return layer.named if isinstance(layer, Container) else ()


def container_in(layer: Layer) -> Container:
    """The container that the children of a layer are in."""
    while isinstance(layer, Wrapper):
        layer = layer.layer
    assert isinstance(layer, Container)
    return layer


def through(
    layer: Layer, xp: Namespace, x: Array, ctx: Context, apply: Callable[[str, Layer, Array, Context], Array]
) -> Array:
    """The output of a container for x, each of whose layers is applied by ``apply(name, layer, x, ctx)``."""
    container = container_in(layer)
    outputs: list[Array] = []
    ctx = container.within(xp, x, ctx)
    for name, inner in children(layer):
        outputs.append(apply(name, inner, container.given(name, x, outputs), ctx))
    return container.joined(xp, x, outputs)


def specs_at(name: str, layer: Layer, shape: Shape) -> tuple[Specs, Shape]:
    """The parameters of one of a container's layers, and the shape of its output; an error says which layer it is."""
    try:
        return layer.parameters(shape)
    except ShapeError as error:
        place = f"layer {name}" if name.isdigit() else f"the {name}"
        raise ShapeError(f"{place} ({type(layer).__name__}): {error}") from error


def leaves(layer: Layer, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Layer]]:
    """All layers that are not containers, in the order in which they are applied, each with its path.

    >>> from anynet.nn import ReLU, Tanh
    >>> [path for path, _ in leaves(Sequential(ReLU(), Sequential(Tanh())))]
    [('0',), ('1', '0')]
    """
    inside = children(layer)
    if not inside:
        yield path, layer
    for name, inner in inside:
        yield from leaves(inner, (*path, name))
