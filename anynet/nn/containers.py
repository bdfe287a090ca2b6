"""Layers made of layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from anynet.errors import ShapeError, UsageError
from anynet.nn.checks import check_layer
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, Specs


@dataclass(frozen=True, init=False)
class Sequential:
    """One layer after the other; forward is a loop, backward the reversed loop.

    Parameters are named by position, as in PyTorch: ``0.weight``, ``2.bias``. Input sizes are inferred.

    Raises
    ------
    UsageError
        When something in it is no layer.
    ShapeError
        When a layer cannot take what the one before it gives; the message names the layer.

    >>> from anynet.nn import Linear, ReLU
    >>> network = Sequential(Linear(3), ReLU(), Linear(1))
    >>> specs, out_shape = network.parameters((2,))
    >>> specs["0"]["weight"].shape, out_shape
    ((2, 3), (1,))
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            raise UsageError("Sequential takes its layers one by one: Sequential(*layers), not Sequential(layers)")
        for position, layer in enumerate(layers):
            check_layer(layer, f"layer {position} of Sequential")
        object.__setattr__(self, "layers", layers)

    @cached_property
    def _named(self) -> tuple[tuple[str, Layer], ...]:
        return tuple((str(i), layer) for i, layer in enumerate(self.layers))

    @cached_property
    def _first_trainable(self) -> int:
        trainable = (i for i, layer in enumerate(self.layers) if getattr(layer, "trainable", True))
        return next(trainable, len(self.layers))

    @property
    def trainable(self) -> bool:
        return self._first_trainable < len(self.layers)

    @property
    def takes_bytes(self) -> bool:
        return bool(self.layers) and getattr(self.layers[0], "takes_bytes", False)

    @cached_property
    def draws(self) -> bool:
        return any(getattr(layer, "draws", False) for layer in self.layers)

    @cached_property
    def advances(self) -> bool:
        return any(getattr(layer, "advances", False) for layer in self.layers)

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        specs: dict[str, Specs] = {}
        for name, layer in self._named:
            try:
                specs[name], shape = layer.parameters(shape)
            except ShapeError as error:
                raise ShapeError(f"layer {name} ({type(layer).__name__}): {error}") from error
        return specs, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        saved = []
        for place, (name, layer) in enumerate(self._named):
            of_layer = ctx.at(place) if getattr(layer, "draws", False) else ctx
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
            name, layer = self._named[i]
            dx, gradients[name] = layer.backward(xp, p[name], saved[i], dx, need_dx or i > first)
        return dx if need_dx else None, gradients

    def advance(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        """The buffers that a training step changes, nested by layer."""
        return {
            name: layer.advance(xp, p[name], kept)  # type: ignore[attr-defined]
            for (name, layer), kept in zip(self._named, saved, strict=True)
            if getattr(layer, "advances", False)
        }
