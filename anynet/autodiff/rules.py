"""The derivative of each operation, as a table.

A rule returns the gradient of one input from `dy`, the gradient of the result. A rule of elementwise operations may
leave that gradient in the shape of the result: whoever calls it adds up over the axes that were broadcast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from anynet.tracing.indexing import from_the_start, put_back

Array: TypeAlias = Any
Rule: TypeAlias = Callable[..., Any]

# Each: (xp, dy, y, x), where y = function(x).
UNARY_RULES: dict[str, Rule] = {
    "abs": lambda xp, dy, y, x: dy * (xp.astype(x > 0, dy.dtype) - xp.astype(x < 0, dy.dtype)),
    "acos": lambda xp, dy, y, x: -dy / xp.sqrt(1.0 - x * x),
    "acosh": lambda xp, dy, y, x: dy / xp.sqrt(x * x - 1.0),
    "asin": lambda xp, dy, y, x: dy / xp.sqrt(1.0 - x * x),
    "asinh": lambda xp, dy, y, x: dy / xp.sqrt(x * x + 1.0),
    "atan": lambda xp, dy, y, x: dy / (1.0 + x * x),
    "atanh": lambda xp, dy, y, x: dy / (1.0 - x * x),
    "cos": lambda xp, dy, y, x: -dy * xp.sin(x),
    "cosh": lambda xp, dy, y, x: dy * xp.sinh(x),
    "exp": lambda xp, dy, y, x: dy * y,
    "expm1": lambda xp, dy, y, x: dy * (y + 1.0),
    "log": lambda xp, dy, y, x: dy / x,
    "log10": lambda xp, dy, y, x: dy / (x * math.log(10.0)),
    "log1p": lambda xp, dy, y, x: dy / (1.0 + x),
    "log2": lambda xp, dy, y, x: dy / (x * math.log(2.0)),
    "negative": lambda xp, dy, y, x: -dy,
    "sin": lambda xp, dy, y, x: dy * xp.cos(x),
    "sinh": lambda xp, dy, y, x: dy * xp.cosh(x),
    "sqrt": lambda xp, dy, y, x: dy / (2.0 * y),
    "square": lambda xp, dy, y, x: dy * (2.0 * x),
    "tan": lambda xp, dy, y, x: dy * (1.0 + y * y),
    "tanh": lambda xp, dy, y, x: dy * (1.0 - y * y),
}

# Each: (xp, dy, y, a, b), where y = function(a, b); one rule for a, and one for b. At a tie of a maximum each input
# takes half, as in PyTorch and JAX.
BINARY_RULES: dict[str, tuple[Rule | None, Rule | None]] = {
    "add": (lambda xp, dy, y, a, b: dy, lambda xp, dy, y, a, b: dy),
    "subtract": (lambda xp, dy, y, a, b: dy, lambda xp, dy, y, a, b: -dy),
    "multiply": (lambda xp, dy, y, a, b: dy * b, lambda xp, dy, y, a, b: dy * a),
    "divide": (lambda xp, dy, y, a, b: dy / b, lambda xp, dy, y, a, b: -dy * y / b),
    "pow": (
        lambda xp, dy, y, a, b: dy * xp.where(b == 0, 0.0, b * a ** xp.where(b == 0, 1.0, b - 1.0)),
        lambda xp, dy, y, a, b: dy * xp.where(a == 0, 0.0, y * xp.log(xp.where(a == 0, 1.0, a))),
    ),
    "atan2": (
        lambda xp, dy, y, a, b: dy * b / (a * a + b * b),
        lambda xp, dy, y, a, b: -dy * a / (a * a + b * b),
    ),
    "hypot": (lambda xp, dy, y, a, b: dy * a / y, lambda xp, dy, y, a, b: dy * b / y),
    "logaddexp": (lambda xp, dy, y, a, b: dy * xp.exp(a - y), lambda xp, dy, y, a, b: dy * xp.exp(b - y)),
    "maximum": (
        lambda xp, dy, y, a, b: dy * xp.where(a == b, 0.5, xp.astype(a > b, dy.dtype)),
        lambda xp, dy, y, a, b: dy * xp.where(a == b, 0.5, xp.astype(a < b, dy.dtype)),
    ),
    "minimum": (
        lambda xp, dy, y, a, b: dy * xp.where(a == b, 0.5, xp.astype(a < b, dy.dtype)),
        lambda xp, dy, y, a, b: dy * xp.where(a == b, 0.5, xp.astype(a > b, dy.dtype)),
    ),
    "remainder": (lambda xp, dy, y, a, b: dy, lambda xp, dy, y, a, b: -dy * xp.floor(a / b)),
    "copysign": (lambda xp, dy, y, a, b: xp.where(xp.signbit(a) == xp.signbit(b), dy, -dy), None),
    "nextafter": (lambda xp, dy, y, a, b: dy, None),
}

# What they give is constant almost everywhere, or holds no real numbers.
FLAT = frozenset(("ceil", "floor", "round", "sign", "trunc", "floor_divide", "constant", "captured", "arange", "input"))


def _where(xp: Any, dy: Array, y: Array, told: Any, condition: Array, a: Array, b: Array) -> list[Any]:
    return [None, xp.where(condition, dy, 0.0), xp.where(condition, 0.0, dy)]


def _sum(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    return [xp.broadcast_to(dy, x.shape)]


def _largest(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    ties = xp.astype(x == y, dy.dtype)
    return [ties * (dy / xp.sum(ties, axis=told["axes"], keepdims=True))]


def _prod(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    """Backward through products of pairs, of pairs of pairs and so on, which need no division by what may be 0."""
    if not x.size:
        return [xp.zeros_like(x)]
    axes = told["axes"]
    first = [axis for axis in range(x.ndim) if axis not in axes]
    order = (*first, *axes)
    lengths = [x.shape[axis] for axis in order]
    kept = tuple(lengths[: len(first)])
    levels = [xp.reshape(xp.permute_dims(x, order), (*kept, -1))]
    while levels[-1].shape[-1] > 1:
        level = levels[-1]
        if level.shape[-1] % 2:
            level = levels[-1] = xp.concat([level, xp.ones((*kept, 1), dtype=x.dtype)], axis=-1)
        levels.append(level[..., ::2] * level[..., 1::2])
    dx = xp.reshape(dy, (*kept, 1))
    for level in levels[-2::-1]:
        count = level.shape[-1] // 2
        both = xp.stack([dx[..., :count] * level[..., 1::2], dx[..., :count] * level[..., ::2]], axis=-1)
        dx = xp.reshape(both, level.shape)
    size = math.prod(lengths[len(first) :])
    dx = xp.reshape(dx[..., :size], lengths)
    return [xp.permute_dims(dx, [order.index(axis) for axis in range(x.ndim)])]


def _matmul(xp: Any, dy: Array, y: Array, told: Any, a: Array, b: Array) -> list[Any]:
    da = xp.matmul(dy, xp.matrix_transpose(b))
    if b.ndim == 2 and a.ndim > 2:
        # One product of all rows, in place of the sum of many.
        rows = math.prod(a.shape[:-1])
        a, dy = xp.reshape(a, (rows, a.shape[-1])), xp.reshape(dy, (rows, dy.shape[-1]))
    return [da, xp.matmul(xp.matrix_transpose(a), dy)]


def _permute_dims(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    axes = told["axes"]
    return [xp.permute_dims(dy, [axes.index(axis) for axis in range(len(axes))])]


def of_slices(xp: Any, parts: list[tuple[Any, Array]], x: Array) -> Array:
    """The gradient of x from those of its slices, each with its attributes, which may cover x side by side."""
    first = parts[0][1]
    axes = [i for i in range(x.ndim) if any(dy.shape[i] != x.shape[i] for _, dy in parts)]
    ends: list[Any] = [(told["starts"], dy) for told, dy in parts]
    if len(parts) > 1 and len(axes) == 1 and all(step == 1 for told, _ in parts for step in told["steps"]):
        (axis,) = axes
        ends.sort(key=lambda end: end[0][axis])
        pieces, stop = [], 0
        for start, dy in ends:
            if start[axis] < stop:
                break
            pieces += [_gap(xp, first, axis, start[axis] - stop), dy]
            stop = start[axis] + dy.shape[axis]
        else:
            pieces.append(_gap(xp, first, axis, x.shape[axis] - stop))
            return xp.concat([piece for piece in pieces if piece.shape[axis]], axis=axis)
    total, *others = (_slice(xp, dy, x, told, x)[0] for told, dy in parts)
    for dx in others:
        total = total + dx
    return total


def _gap(xp: Any, like: Array, axis: int, length: int) -> Array:
    return xp.zeros((*like.shape[:axis], length, *like.shape[axis + 1 :]), dtype=like.dtype)


def _slice(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    return [put_back(xp, dy, x.shape, told["starts"], told["steps"])]


def _concat(xp: Any, dy: Array, y: Array, told: Any, *arrays: Array) -> list[Any]:
    before, start, parts = (slice(None),) * told["axis"], 0, []
    for x in arrays:
        end = start + x.shape[told["axis"]]
        parts.append(dy[(*before, slice(start, end))])
        start = end
    return parts


def _take(xp: Any, dy: Array, y: Array, told: Any, x: Array, indices: Array) -> list[Any]:
    axis, count = told["axis"], indices.ndim
    places = tuple(range(axis, axis + count))
    others = tuple(i for i in range(dy.ndim) if i not in places)
    kept = (*x.shape[:axis], *x.shape[axis + 1 :])
    rows = xp.reshape(xp.permute_dims(dy, (*places, *others)), (indices.size, *kept))
    which = from_the_start(xp, xp.reshape(indices, (-1,)), x.shape[axis])
    sums = xp.segment_sum(rows, which, x.shape[axis])
    return [xp.moveaxis(sums, 0, axis), None]


def _take_along_axis(xp: Any, dy: Array, y: Array, told: Any, x: Array, indices: Array) -> list[Any]:
    if not indices.size:
        return [xp.zeros_like(x), None]
    axis = told["axis"]
    rows = xp.moveaxis(dy, axis, -1)
    length = x.shape[axis]
    which = from_the_start(xp, xp.reshape(xp.moveaxis(indices, axis, -1), (-1, rows.shape[-1])), length)
    places = which + length * xp.expand_dims(xp.arange(which.shape[0], dtype=which.dtype), axis=1)
    sums = xp.segment_sum(xp.reshape(rows, (-1,)), xp.reshape(places, (-1,)), x.size)
    return [xp.moveaxis(xp.reshape(sums, (*rows.shape[:-1], length)), -1, axis), None]


def _cumulative_sum(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    axis = told["axis"]
    return [xp.flip(xp.cumulative_sum(xp.flip(dy, axis=axis), axis=axis), axis=axis)]


def _broadcast_to(xp: Any, dy: Array, y: Array, told: Any, x: Array) -> list[Any]:
    return [unbroadcast(xp, dy, x.shape)]


# Each: (xp, dy, y, attributes, *inputs), which returns the gradient of each input, or None.
OTHER_RULES: dict[str, Rule] = {
    "where": _where,
    "astype": lambda xp, dy, y, told, x: [xp.astype(dy, x.dtype)],
    "sum": _sum,
    "prod": _prod,
    "max": _largest,
    "min": _largest,
    "matmul": _matmul,
    "reshape": lambda xp, dy, y, told, x: [xp.reshape(dy, x.shape)],
    "permute_dims": _permute_dims,
    "broadcast_to": _broadcast_to,
    "slice": _slice,
    "concat": _concat,
    "take": _take,
    "take_along_axis": _take_along_axis,
    "cumulative_sum": _cumulative_sum,
    "segment_sum": lambda xp, dy, y, told, x, ids: [xp.take(dy, ids, axis=0), None],
    # Each process's loss is a part of the loss.
    "all_reduce": lambda xp, dy, y, told, x: [xp.all_reduce(told["function"], dy)],
}

# What does the same as an operation that has no rule, or comes near it.
INSTEAD = {"cumulative_prod": "exp(cumulative_sum(log(x))) for positive numbers, or prod"}


def unbroadcast(xp: Any, dy: Array, shape: tuple[int, ...]) -> Array:
    """The sum of dy over the axes along which an array of this shape was broadcast."""
    if dy.shape == shape:
        return dy
    added = dy.ndim - len(shape)
    spread = (i for i, length in enumerate(shape, added) if length == 1 and dy.shape[i] != 1)
    return xp.reshape(xp.sum(dy, axis=(*range(added), *spread)), shape)


def gradients_of(
    xp: Any, op: str, told: Any, dy: Array, y: Array, inputs: list[Array], wanted: list[bool]
) -> list[Any]:
    """The gradient of each input of an operation that is wanted; None where it has no influence.

    Raises
    ------
    KeyError
        When there is no rule.
    """
    if op in FLAT:
        return [None] * len(inputs)
    if op in UNARY_RULES:
        return [UNARY_RULES[op](xp, dy, y, *inputs)]
    if op in BINARY_RULES:
        rules = zip(BINARY_RULES[op], wanted, strict=True)
        found = [rule(xp, dy, y, *inputs) if rule and is_wanted else None for rule, is_wanted in rules]
    else:
        found = OTHER_RULES[op](xp, dy, y, told, *inputs)
    pairs = zip(found, inputs, wanted, strict=True)
    return [unbroadcast(xp, dx, x.shape) if dx is not None and is_wanted else None for dx, x, is_wanted in pairs]
