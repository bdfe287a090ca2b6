"""The base of all layers: a layer says which parameters it needs, and how it computes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from anynet.errors import UsageError, shown
from anynet.nn import derived
from anynet.nn.checks import check_initializer, check_shape
from anynet.tracing import scan

Array: TypeAlias = Any
Namespace: TypeAlias = Any
Generator: TypeAlias = Any
Shape: TypeAlias = tuple[int, ...]
# Of a network that takes a dict of arrays: a dict.
InputShape: TypeAlias = "Shape | dict[str, Any]"
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
    shared : tuple of str
        All parameters of a network with the same are one; empty for one that is not shared.

    Raises
    ------
    UsageError, ShapeError
        When the shape or the initializer is invalid.

    >>> from anynet.nn import Zeros
    >>> Parameter((3,), Zeros(), decay=False)
    Parameter(shape=(3,), initializer=Zeros(), trainable=True, decay=False, shared=())
    """

    shape: Shape
    initializer: Initializer
    trainable: bool = True
    decay: bool = True
    shared: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", check_shape(self.shape, "a parameter"))
        check_initializer(self.initializer, "Parameter: initializer", "Zeros()")


@dataclass(frozen=True)
class Context:
    """What a layer may know about the current forward pass.

    Parameters
    ----------
    training : bool
        Whether this pass is part of a training step.
    seed : int
        Seed of all random numbers.
    step : 0-d array of int, optional
        The number of the training step.
    ranks : int
        The batch is one of so many equal parts of a larger batch; other processes or devices have the others.
    first_row : int or 0-d array of int
        The place of its first row in the larger batch.
    total : callable
        ``(xp, *arrays) -> arrays``: the sums over all parts, in one message. The arrays have one dtype.
    scan : callable
        The loop over time, as in `anynet.tracing.scan`.
    mask : array of bool of shape (batch, time), optional
        Which times of each sequence are there; the others are padding.
    """

    training: bool = False
    seed: int = 0
    step: Array = None
    ranks: int = 1
    first_row: Any = 0
    total: Callable[..., tuple[Array, ...]] = lambda xp, *arrays: arrays
    scan: Callable[..., tuple[Any, tuple[Any, ...]]] = scan
    mask: Array = None

    def at(self, place: int) -> Context:
        """The context of the layer at this position, with a seed of its own."""
        return replace(self, seed=self.seed * 1_000_003 + place + 1)


def device_of(x: Array) -> Any:
    """The device of an array; None for a JAX tracer, which has no device and needs none."""
    return getattr(x, "device", None)


def rows_of(xp: Namespace, x: Array) -> Array:
    """Reshape an array of shape (..., features) to (rows, features)."""
    return x if x.ndim == 2 else xp.reshape(x, (-1, x.shape[-1]))


Specs: TypeAlias = Mapping[str, "Parameter | Specs"]
Parameters: TypeAlias = Mapping[str, Any]


class Layer:
    """The base of every layer; `anynet.gradcheck` tells whether its methods agree.

    ``parameters`` returns the arrays that the layer needs for samples of the given shape, and the shape of its
    output. ``forward`` returns the output; the gradient is then derived from it. A layer that is to buffer what it
    saw returns a pair, of which the second part goes to ``update_buffers``.

    A layer may also define ``backward`` itself, where that is faster. Then ``forward`` returns a pair: the output, and
    exactly what ``backward`` will need. ``backward`` takes the gradient of
    the loss with respect to the output. It returns the gradient with respect to the input (None if `need_dx` is
    False), and the gradients of the trainable parameters by name. It may overwrite `dy`, but nothing else.

    Draw random numbers from the context only, and set ``stochastic = True``. Numbers from elsewhere, such as np.random,
    would stay the same in all steps that JAX has compiled, while other libraries would draw new ones in each step.

    If many processes train one network, x has this process's part of the batch. What a layer computes over the whole
    batch, it sums with the context's ``total``.

    A layer overrides these as class attributes or properties:

    Attributes
    ----------
    trainable : bool
        Whether it has anything to train. If neither it nor an earlier layer has, training does not call its `backward`.
    accepts_uint8 : bool
        Whether `forward` takes uint8 arrays, and turns them into floats itself.
    indices : int or None
        How many rows the numbers in x are indices of; None if they are no indices. A layer that takes a dict of arrays
        has a dict with the same names here; so may it have in `accepts_uint8`.
    stochastic : bool
        Whether it draws random numbers from the context.
    updates_buffers : bool
        Whether a training step changes its buffers, by `update_buffers`.
    """

    @property
    def trainable(self) -> bool:
        return type(self).parameters is not Layer.parameters

    @property
    def accepts_uint8(self) -> bool | dict[str, Any]:
        return False

    @property
    def indices(self) -> int | dict[str, Any] | None:
        return None

    @property
    def stochastic(self) -> bool:
        return False

    @property
    def updates_buffers(self) -> bool:
        return type(self).update_buffers is not Layer.update_buffers

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "forward" in cls.__dict__ and cls.backward in (Layer.backward, _derived_backward):
            cls._formula = cls.forward  # type: ignore[attr-defined]
            cls.forward, cls.backward = _derived_forward, _derived_backward  # type: ignore[method-assign]
            if "update_buffers" in cls.__dict__:
                cls.update_buffers = _with_own(cls.update_buffers)  # type: ignore[method-assign]

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        """Parameters and buffers by name, and the shape of the output; here none, and the shape of the input.

        Both shapes are of one sample, without the batch axis.
        """
        return {}, shape

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        """The output for x of shape (batch, ...); with a `backward`, a pair of the output and what that needs."""
        raise NotImplementedError

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        """The gradient with respect to x, and that of each trainable parameter by name; `dy` has the output's shape."""
        raise NotImplementedError

    def update_buffers(self, xp: Namespace, p: Parameters, saved: Any) -> Parameters:
        """The new buffers after a training step, by name; those that are left out do not change."""
        return {}


def _derived_forward(self: Any, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
    return derived.forward(self, type(self)._formula, xp, p, x, ctx)


def _derived_backward(
    self: Any, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
) -> tuple[Array | None, Parameters]:
    return derived.backward(xp, saved, dy, need_dx)


def _with_own(update_buffers: Callable[..., Parameters]) -> Callable[..., Parameters]:
    """`update_buffers` of a layer whose backward is derived, given what its own forward returned beside the output."""
    return lambda self, xp, p, saved: update_buffers(self, xp, p, saved.kept)


def check_layer(layer: object, name: str) -> None:
    """Refuse an object that is not a layer; the message calls it `name`.

    Raises
    ------
    UsageError
        When it is a class, is not derived from `Layer`, or lacks a method.
    """
    if isinstance(layer, type):
        raise UsageError(f"{name} is {shown(layer)}; make one, as in {layer.__name__}(...)")
    if isinstance(layer, (list, tuple)):
        kind = type(layer).__name__
        raise UsageError(f"{name} is a {kind}, which is no layer: wrap what it holds, Sequential(*layers)")
    if not isinstance(layer, Layer):
        remedy = "expected one of anynet.nn, such as Linear(128) or ReLU()"
        if hasattr(layer, "forward"):
            remedy = f"derive {type(layer).__name__} from anynet.nn.Layer"
        raise UsageError(f"{name} is {shown(layer)}, which is no layer: {remedy}")
    if type(layer).forward is Layer.forward:
        raise UsageError(f"{name} is {shown(layer)}, a layer that has no method forward")
