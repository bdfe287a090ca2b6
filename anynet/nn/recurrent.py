"""Recurrent layers, for x of shape (batch, time, features): a loop over time, of a cell whose gradient is derived."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeAlias

from anynet.autodiff.reverse import Halves
from anynet.nn import derived
from anynet.nn.checks import check_flag, check_initializer, check_number
from anynet.nn.embedding import check_sequence
from anynet.nn.initializers import GlorotUniform, Orthogonal, Zeros
from anynet.nn.layer import (
    Array,
    Context,
    Initializer,
    Layer,
    Namespace,
    Parameter,
    Parameters,
    Shape,
    Specs,
    device_of,
)
from anynet.nn.masking import mask_for
from anynet.tracing import evaluate

# (xp, projected x at this time, projected h, *state) -> the next state, whose first array is h
Cell: TypeAlias = Callable[..., tuple[Array, ...]]


def _sigmoid(xp: Namespace, x: Array) -> Array:
    """By tanh, which takes fewer operations than a stable form by exp."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


def _gru(xp: Namespace, a: Array, b: Array, h: Array) -> tuple[Array, ...]:
    size = h.shape[-1]
    rz = _sigmoid(xp, a[:, : 2 * size] + b[:, : 2 * size])
    r, z = rz[:, :size], rz[:, size:]
    n = xp.tanh(a[:, 2 * size :] + r * b[:, 2 * size :])
    return (n + z * (h - n),)


def _lstm(xp: Namespace, a: Array, b: Array, h: Array, c: Array) -> tuple[Array, ...]:
    size, gates = h.shape[-1], a + b
    i_f, g = _sigmoid(xp, gates[:, : 2 * size]), xp.tanh(gates[:, 2 * size : 3 * size])
    c = i_f[:, size:] * c + i_f[:, :size] * g
    return _sigmoid(xp, gates[:, 3 * size :]) * xp.tanh(c), c


@cache
def _masked(cell: Cell) -> Cell:
    """The state stays as it is at a time that is masked."""

    def masked(xp: Namespace, a: Array, b: Array, *given: Array) -> tuple[Array, ...]:
        *state, there = given
        return tuple(xp.where(there, new, old) for new, old in zip(cell(xp, a, b, *state), state, strict=True))

    return masked


class _Way(NamedTuple):
    """What one way through time keeps: how a step is differentiated, h before each, and what else that needs."""

    halves: Halves
    before: Any
    residuals: tuple[Any, ...]


@dataclass(frozen=True)
class _Recurrent(Layer):
    """What GRU and LSTM share."""

    hidden_size: int
    return_sequences: bool = False
    bidirectional: bool = False
    weight_ih: Initializer = GlorotUniform()
    weight_hh: Initializer = Orthogonal()
    bias: Initializer = Zeros()
    _gates: ClassVar[int]
    _states: ClassVar[int]
    _cell: ClassVar[Cell]

    def __post_init__(self) -> None:
        check_number(self, "hidden_size", "a whole number, 1 or more", lambda size: size >= 1, whole=True)
        check_flag(self, "return_sequences")
        check_flag(self, "bidirectional")
        for name in ("weight_ih", "weight_hh", "bias"):
            check_initializer(getattr(self, name), f"{type(self).__name__}: {name}", "GlorotUniform()")

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        time, features = shape
        size, width = self.hidden_size, self._gates * self.hidden_size
        specs: dict[str, Parameter] = {}
        for end in self._ends:
            specs |= {
                f"weight_ih{end}": Parameter((features, width), self.weight_ih),
                f"weight_hh{end}": Parameter((size, width), self.weight_hh),
                f"bias_ih{end}": Parameter((width,), self.bias, decay=False),
                f"bias_hh{end}": Parameter((width,), self.bias, decay=False),
            }
        size *= 1 + self.bidirectional
        return specs, (time, size) if self.return_sequences else (size,)

    @property
    def _ends(self) -> tuple[str, ...]:
        return ("", "_reverse")[: 1 + self.bidirectional]

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> tuple[Array, Any]:
        mask = mask_for(self, xp, x, ctx, (*x.shape[:2], 1))
        given = (x,) if mask is None else (x, mask)
        steps, *there = (xp.permute_dims(array, (1, 0, 2)) for array in given)
        outputs, ways = zip(*(self._forward(xp, p, steps, there, ctx.scan, end) for end in self._ends), strict=True)
        return xp.concat(list(outputs), axis=-1), (steps, ways, ctx.scan)

    def _forward(
        self, xp: Namespace, p: Parameters, steps: Array, there: list[Array], scan: Any, end: str
    ) -> tuple[Array, _Way]:
        """One way: the input projections of all times are one product."""
        cell = _masked(self._cell) if there else self._cell
        projected = xp.matmul(steps, p[f"weight_ih{end}"]) + p[f"bias_ih{end}"]
        zeros = xp.zeros((steps.shape[1], self.hidden_size), dtype=steps.dtype, device=device_of(steps))
        state = (zeros,) * self._states
        halves = derived.halves(cell, xp, [projected[0, ...]] * 2 + [*state, *(array[0, ...] for array in there)])

        def step(state: tuple[Array, ...], now: tuple[Array, ...]) -> Any:
            a, *mask = now
            b = xp.matmul(state[0], p[f"weight_hh{end}"]) + p[f"bias_hh{end}"]
            found = evaluate(halves.forward, xp, [a, b, *state, *mask], device_of(steps))
            return tuple(found[: len(state)]), (state[0], found[0], *found[len(state) :])

        last, (before, hs, *residuals) = scan(xp, step, state, (projected, *there), bool(end))
        # Each way's own last step: that of the way back is at time 0.
        y = xp.permute_dims(_stacked(xp, hs), (1, 0, 2)) if self.return_sequences else last[0]
        return y, _Way(halves, before, tuple(residuals))

    def backward(
        self, xp: Namespace, p: Parameters, saved: Any, dy: Array, need_dx: bool = True
    ) -> tuple[Array | None, Parameters]:
        steps, ways, scan = saved
        size, dx = self.hidden_size, None
        gradients: dict[str, Array] = {}
        rows = _rows(xp, steps)
        for i, (end, way) in enumerate(zip(self._ends, ways, strict=True)):
            da, db = self._backward(xp, p, way, dy[..., i * size : (i + 1) * size], scan, end)
            before = _rows(xp, way.before)
            gradients |= {
                f"weight_ih{end}": xp.matmul(xp.matrix_transpose(rows), da),
                f"weight_hh{end}": xp.matmul(xp.matrix_transpose(before), db),
                f"bias_ih{end}": xp.sum(da, axis=0),
                f"bias_hh{end}": xp.sum(db, axis=0),
            }
            if need_dx:
                of_way = xp.matmul(da, xp.matrix_transpose(p[f"weight_ih{end}"]))
                dx = of_way if dx is None else dx + of_way
        return dx if dx is None else xp.permute_dims(xp.reshape(dx, steps.shape), (1, 0, 2)), gradients

    def _backward(self, xp: Namespace, p: Parameters, way: _Way, dy: Array, scan: Any, end: str) -> tuple[Array, Array]:
        """One way, from its last step to its first: the gradients of both projections, with a row for each step."""
        dhs = (xp.permute_dims(dy, (1, 0, 2)),) if self.return_sequences else ()
        zeros = xp.zeros((dy.shape[0], self.hidden_size), dtype=dy.dtype, device=device_of(dy))
        state = (zeros if dhs else dy,) + (zeros,) * (self._states - 1)

        def step(state: tuple[Array, ...], now: tuple[Array, ...]) -> Any:
            dh, *others = state
            if dhs:
                dh, now = dh + now[0], now[1:]
            da, db, dh, *others = evaluate(way.halves.backward, xp, [*now, dh, *others], device_of(dy))
            return (dh + xp.matmul(db, xp.matrix_transpose(p[f"weight_hh{end}"])), *others), (da, db)

        _, found = scan(xp, step, state, (*dhs, *way.residuals), not end)
        da, db = found
        return _rows(xp, da), _rows(xp, db)


def _stacked(xp: Namespace, x: Any) -> Array:
    """The results of a loop as one array."""
    return xp.stack(x) if isinstance(x, list) else x


def _rows(xp: Namespace, x: Any) -> Array:
    x = _stacked(xp, x)
    return xp.reshape(x, (-1, x.shape[-1]))


@dataclass(frozen=True)
class GRU(_Recurrent):
    """A gated recurrent unit: h <- (1 - z) n + z h at each time (Cho et al. 2014), as PyTorch computes it.

    r = sigmoid(a_r + b_r), z = sigmoid(a_z + b_z), n = tanh(a_n + r b_n), where a = x weight_ih + bias_ih and
    b = h weight_hh + bias_hh hold the three gates r, z and n side by side.

    Parameters
    ----------
    hidden_size : int
    return_sequences : bool
        Whether y has h of all times, shape (batch, time, hidden_size), or of the last, shape (batch, hidden_size).
    bidirectional : bool
        Whether a second one, whose weights end in ``_reverse``, reads x backwards; y has the features of both.
    weight_ih, weight_hh, bias : initializers

    Raises
    ------
    UsageError, ShapeError
        When an argument is invalid, or samples have another shape than (time, features).

    >>> specs, out_shape = GRU(4, bidirectional=True).parameters((7, 3))
    >>> specs["weight_hh_reverse"].shape, out_shape
    ((4, 12), (8,))
    """

    _gates, _states, _cell = 3, 1, staticmethod(_gru)


@dataclass(frozen=True)
class LSTM(_Recurrent):
    """Long short-term memory: c <- f c + i g, h <- o tanh(c) at each time (Hochreiter and Schmidhuber 1997).

    The gates i, f, g and o, in PyTorch's order, are side by side in x weight_ih + bias_ih + h weight_hh + bias_hh:
    tanh gives g, and sigmoid the other three.

    Parameters
    ----------
    hidden_size, return_sequences, bidirectional, weight_ih, weight_hh, bias
        See `GRU`.

    >>> specs, out_shape = LSTM(4, return_sequences=True).parameters((7, 3))
    >>> specs["weight_ih"].shape, out_shape
    ((3, 16), (7, 4))
    """

    _gates, _states, _cell = 4, 2, staticmethod(_lstm)
