"""Containers of layers side by side, which are all given the same input, or each one of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any

from anynet.errors import ShapeError, UsageError
from anynet.nn.checks import check_names
from anynet.nn.containers import Container, Layers, specs_at
from anynet.nn.layer import Array, Context, Layer, Namespace, Parameters, Shape, Specs, check_layer


class Branches(Container):
    """The layers of a container side by side; what they give is joined to one output."""

    def given(self, name: str, x: Any, outputs: list[Any]) -> Any:
        return x

    def gradient_of_x(self, found: dict[str, Array]) -> Any:
        """The gradient of x, from those of what each layer is given."""
        return reduce(add, found.values())

    def out_shape(self, shape: Shape, shapes: list[Shape]) -> Shape:
        """The shape of the output, from those of the input and of what the layers give."""
        raise NotImplementedError

    def parted(self, xp: Namespace, dy: Array, widths: list[int]) -> list[Array]:
        """The gradient of what each layer gives, which that may overwrite."""
        raise NotImplementedError

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        found = {name: specs_at(name, layer, self.given(name, shape, [])) for name, layer in self.named}
        shapes = [out_shape for _, out_shape in found.values()]
        return {name: specs for name, (specs, _) in found.items()}, self.out_shape(shape, shapes)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        outputs: list[Array] = []
        saved = []
        for place, (name, layer) in enumerate(self.named):
            of_layer = ctx.at(place) if layer.stochastic else ctx
            y, kept = layer.forward(xp, p[name], self.given(name, x, outputs), of_layer)
            outputs.append(y)
            saved.append(kept)
        return self.joined(xp, x, outputs), (saved, [y.shape[-1] for y in outputs])

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        gradients, dx = {}, {}
        for (name, layer), kept, part in zip(self.named, saved[0], self.parted(xp, dy, saved[1]), strict=False):
            if need_dx or layer.trainable:
                dx[name], gradients[name] = layer.backward(xp, p[name], kept, part, need_dx)
        return self.gradient_of_x(dx) if need_dx else None, gradients

    def update_buffers(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        return super().update_buffers(xp, p, saved[0])


@dataclass(frozen=True)
class Residual(Branches):
    """y = layer(x) + x, or layer(x) + shortcut(x), so that the gradient passes by the layer, too (He et al. 2016).

    Parameters
    ----------
    layer : Layer
    shortcut : Layer, optional
        Such as ``Linear(64)``, where the layer's output has another shape than x.

    >>> import numpy as np
    >>> from anynet.nn import Context, ReLU
    >>> Residual(ReLU()).forward(np, {"layer": {}}, np.asarray([[-1.0, 2.0]]), Context())[0]
    array([[-1.,  4.]])
    """

    layer: Layer
    shortcut: Layer | None = None

    def __post_init__(self) -> None:
        check_layer(self.layer, "the layer of Residual")
        if self.shortcut is not None:
            check_layer(self.shortcut, "the shortcut of Residual")

    @cached_property
    def named(self) -> tuple[tuple[str, Layer], ...]:  # type: ignore[override]
        return (("layer", self.layer), *([] if self.shortcut is None else [("shortcut", self.shortcut)]))

    def out_shape(self, shape: Shape, shapes: list[Shape]) -> Shape:
        one, other = shapes[0], (shape, *shapes[1:])[-1]
        if one != other:
            raise ShapeError(
                f"the layer of Residual gives shape {one}, which cannot be added to {other}: give a shortcut whose "
                "output has the same shape, such as a Linear"
            )
        return one

    def joined(self, xp: Namespace, x: Array, outputs: list[Array]) -> Array:
        return outputs[0] + (x, *outputs[1:])[-1]

    def parted(self, xp: Namespace, dy: Array, widths: list[int]) -> list[Array]:
        return [xp.asarray(dy, copy=True), dy]

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        dx, gradients = super().backward(xp, p, saved, dy, need_dx)
        return dx + dy if need_dx and self.shortcut is None else dx, gradients


@dataclass(frozen=True, init=False)
class Concat(Branches, Layers):
    """What each of the layers makes of x, side by side along the last axis.

    >>> import numpy as np
    >>> from anynet.nn import Context, ReLU, Tanh
    >>> Concat(ReLU(), Tanh()).forward(np, {"0": {}, "1": {}}, np.asarray([[-1e4]]), Context())[0]
    array([[ 0., -1.]])
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        if not layers:
            raise UsageError("Concat needs at least one layer, such as Concat(Linear(3), Tanh())")

    def out_shape(self, shape: Shape, shapes: list[Shape]) -> Shape:
        if not all(shapes) or len({one[:-1] for one in shapes}) > 1:
            raise ShapeError(f"Concat joins outputs along the last axis, so only that may differ, but got {shapes}")
        return (*shapes[0][:-1], sum(one[-1] for one in shapes))

    def joined(self, xp: Namespace, x: Array, outputs: list[Array]) -> Array:
        return xp.concat(outputs, axis=-1)

    def parted(self, xp: Namespace, dy: Array, widths: list[int]) -> list[Array]:
        ends = [sum(widths[: i + 1]) for i in range(len(widths))]
        return [xp.asarray(dy[..., end - width : end], copy=True) for end, width in zip(ends, widths, strict=True)]


@dataclass(frozen=True, init=False)
class Inputs(Concat):
    """The first layer of a network that takes a dict of arrays: a layer for each, whose outputs are concatenated.

    Parameters
    ----------
    **layers : Layer
        By the name of the input that each is given.

    >>> import numpy as np
    >>> from anynet.nn import Context, Flatten, ReLU, Sequential
    >>> layer = Inputs(image=Sequential(Flatten(), ReLU()), table=ReLU())
    >>> x = {"image": np.asarray([[[-1.0, 2.0]]]), "table": np.asarray([[3.0]])}
    >>> layer.forward(np, {"image": {"0": {}, "1": {}}, "table": {}}, x, Context())[0]
    array([[0., 2., 3.]])
    """

    names: tuple[str, ...]

    def __init__(self, /, **layers: Layer) -> None:
        if not layers:
            raise UsageError("Inputs needs a layer for each input by name, such as Inputs(image=Flatten())")
        super().__init__(*layers.values())
        for name in layers:
            if not name or "." in name or "/" in name:
                raise UsageError(f"the name of an input must be a text without '.' and '/', but is {name!r}")
        object.__setattr__(self, "names", tuple(layers))

    @cached_property
    def named(self) -> tuple[tuple[str, Layer], ...]:  # type: ignore[override]
        return tuple(zip(self.names, self.layers, strict=True))

    @property
    def accepts_uint8(self) -> dict[str, Any]:
        return {name: layer.accepts_uint8 for name, layer in self.named}

    @property
    def indices(self) -> dict[str, Any]:
        return {name: layer.indices for name, layer in self.named}

    def given(self, name: str, x: Any, outputs: list[Any]) -> Any:
        return x[name]

    def gradient_of_x(self, found: dict[str, Array]) -> Any:
        return found

    def parameters(self, shape: Any) -> tuple[Specs, Shape]:
        if not isinstance(shape, dict):
            words = f"takes a dict with {', '.join(self.names)}, as a network's first layer"
            raise ShapeError(f"Inputs {words}, but samples here have shape {shape}")
        return super().parameters(check_names(shape, self.indices, "the shape of a sample"))
