"""What a layer is: a description that says which numbers it needs and how they act on an array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from anynet.nn.checks import check_initializer, check_shape

Array: TypeAlias = Any
Namespace: TypeAlias = Any
Generator: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
Initializer: TypeAlias = Callable[[Generator, Shape], Any]


@dataclass(frozen=True)
class Parameter:
    """One named array of a layer: its shape, how it starts, and how it is treated.

    Parameters
    ----------
    shape : tuple of int
    initializer : callable
        ``(generator, shape) -> numbers``, drawn on the host in float64.
    trainable : bool
        False makes it a buffer, which the optimizer leaves alone.
    decay : bool
        Whether weight decay applies to it.

    Raises
    ------
    UsageError, ShapeError
        When shape or initializer cannot be.

    >>> from anynet.nn import Zeros
    >>> Parameter((3,), Zeros(), decay=False)
    Parameter(shape=(3,), initializer=Zeros(), trainable=True, decay=False)
    """

    shape: Shape
    initializer: Initializer
    trainable: bool = True
    decay: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape, "a parameter"))
        check_initializer(self.initializer, "Parameter: initializer", "Zeros()")


@dataclass(frozen=True)
class Context:
    """What a forward pass may ask about the pass itself.

    Parameters
    ----------
    training : bool
    seed : int
        Of what is drawn at random.
    step : 0-d array of int, optional
        The number of the training step.
    """

    training: bool = False
    seed: int = 0
    step: Array = None

    def at(self, place: int) -> Context:
        """The context of one of several layers, which draws other numbers than the rest."""
        return replace(self, seed=self.seed * 1_000_003 + place + 1)


def rows_of(xp: Namespace, x: Array) -> Array:
    """An array of shape (..., features) as one of shape (rows, features)."""
    return x if x.ndim == 2 else xp.reshape(x, (-1, x.shape[-1]))


Specs: TypeAlias = Mapping[str, "Parameter | Specs"]
Parameters: TypeAlias = Mapping[str, Any]


class Layer(Protocol):
    """Three methods make a layer; `anynet.gradcheck` tells whether they agree.

    ``parameters`` names the arrays the layer needs for one sample of the given shape, and the shape that
    comes out. ``forward`` returns the output and exactly what ``backward`` will need. ``backward`` takes
    the gradient of the loss with respect to the output and returns the one with respect to the input
    (None if `need_dx` is False) and one for each trainable parameter. It may overwrite `dy`, nothing else.

    A layer with nothing to train may say so with ``trainable = False``: no gradient is then carried back to
    it for its own sake. One that turns bytes into floats itself may say ``takes_bytes = True``, one that draws
    random numbers from the context ``draws = True``, and one whose buffers change as it trains ``advances = True``:
    its ``advance(xp, p, saved)`` returns the new ones.

    What else it draws from, such as np.random, is drawn anew in each step on other libraries, but a step that JAX
    compiles keeps what was drawn first: draw from the context.
    """

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]: ...

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]: ...

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]: ...
