"""Recurrent layers, for x of shape (batch, time, features): the steps of time are unrolled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

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

# (xp, projected x at this time, projected h, state) -> state, whose first array is h
Cell = Callable[[Namespace, Array, Array, tuple[Array, ...]], tuple[Array, ...]]


def _sigmoid(xp: Namespace, x: Array) -> Array:
    """By tanh, which takes fewer operations than a stable form by exp."""
    return 0.5 * xp.tanh(0.5 * x) + 0.5


@dataclass(frozen=True)
class _Recurrent:
    """What GRU and LSTM share."""

    hidden_size: int
    return_sequences: bool = False
    bidirectional: bool = False
    weight_ih: Initializer = GlorotUniform()
    weight_hh: Initializer = Orthogonal()
    bias: Initializer = Zeros()

    def __post_init__(self) -> None:
        check_number(self, "hidden_size", "a whole number, 1 or more", lambda size: size >= 1, whole=True)
        check_flag(self, "return_sequences")
        check_flag(self, "bidirectional")
        for name in ("weight_ih", "weight_hh", "bias"):
            check_initializer(getattr(self, name), f"{type(self).__name__}: {name}", "GlorotUniform()")

    def _specs(self, shape: Shape, gates: int) -> tuple[Specs, Shape]:
        check_sequence(self, shape)
        time, features = shape
        size, width = self.hidden_size, gates * self.hidden_size
        specs: dict[str, Parameter] = {}
        for end in ("", "_reverse")[: 1 + self.bidirectional]:
            specs |= {
                f"weight_ih{end}": Parameter((features, width), self.weight_ih),
                f"weight_hh{end}": Parameter((size, width), self.weight_hh),
                f"bias_ih{end}": Parameter((width,), self.bias, decay=False),
                f"bias_hh{end}": Parameter((width,), self.bias, decay=False),
            }
        size *= 1 + self.bidirectional
        return specs, (time, size) if self.return_sequences else (size,)

    def _run(self, xp: Namespace, p: Parameters, x: Array, ctx: Context, states: int, cell: Cell) -> Array:
        mask = mask_for(self, xp, x, ctx, (*x.shape[:2], 1))
        given = xp.permute_dims(x, (1, 0, 2)), None if mask is None else xp.permute_dims(mask, (1, 0, 2))
        outputs = [self._one_way(xp, p, *given, states, cell, "")]
        if self.bidirectional:
            back = self._one_way(xp, p, *given, states, cell, "_reverse")
            outputs.append(back[::-1])
        if self.return_sequences:
            return xp.concat([xp.stack(hs, axis=1) for hs in outputs], axis=-1)
        # Each way's own last step: that of the way back is at time 0.
        return xp.concat([hs[-1 if i == 0 else 0] for i, hs in enumerate(outputs)], axis=-1)

    def _one_way(
        self, xp: Namespace, p: Parameters, steps: Array, mask: Array, states: int, cell: Cell, end: str
    ) -> list[Array]:
        """h after each step; the input projections of all steps are one product."""
        time, batch, _ = steps.shape
        projected = xp.matmul(steps, p[f"weight_ih{end}"]) + p[f"bias_ih{end}"]
        zeros = xp.zeros((batch, self.hidden_size), dtype=steps.dtype, device=device_of(steps))
        state, hs = (zeros,) * states, []
        for t in reversed(range(time)) if end else range(time):
            of_h = xp.matmul(state[0], p[f"weight_hh{end}"]) + p[f"bias_hh{end}"]
            new = cell(xp, projected[t, ...], of_h, state)
            state = new if mask is None else tuple(map(partial(xp.where, mask[t, ...]), new, state))
            hs.append(state[0])
        return hs


@dataclass(frozen=True)
class GRU(_Recurrent, Layer):
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

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return self._specs(shape, gates=3)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        size = self.hidden_size

        def cell(xp: Namespace, a: Array, b: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            (h,) = state
            rz = _sigmoid(xp, a[:, : 2 * size] + b[:, : 2 * size])
            r, z = rz[:, :size], rz[:, size:]
            n = xp.tanh(a[:, 2 * size :] + r * b[:, 2 * size :])
            return (n + z * (h - n),)

        return self._run(xp, p, x, ctx, 1, cell)


@dataclass(frozen=True)
class LSTM(_Recurrent, Layer):
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

    def parameters(self, shape: Shape) -> tuple[Specs, Shape]:
        return self._specs(shape, gates=4)

    def forward(self, xp: Namespace, p: Parameters, x: Array, ctx: Context) -> Any:
        size = self.hidden_size

        def cell(xp: Namespace, a: Array, b: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
            _, c = state
            gates = a + b
            i_f, g = _sigmoid(xp, gates[:, : 2 * size]), xp.tanh(gates[:, 2 * size : 3 * size])
            c = i_f[:, size:] * c + i_f[:, :size] * g
            return _sigmoid(xp, gates[:, 3 * size :]) * xp.tanh(c), c

        return self._run(xp, p, x, ctx, 2, cell)
