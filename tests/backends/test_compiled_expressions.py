"""What a backend compiles an expression to computes what its operations do, one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from backends.compiled import B, assert_compiled_is_the_step, compiling
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("memory_is_full_of_nonsense")

EXPRESSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "integers that overflow": lambda xp, x: (
        (xp.astype(x, xp.int32) * 2**30 + (2**31 - 1)) * 3 - (xp.astype(x, xp.int32) << 30)
    ),
    "unsigned bytes": lambda xp, x: xp.astype(xp.abs(x), xp.uint8) * 200 + ~xp.astype(xp.abs(x), xp.uint8),
    "conditions": lambda xp, x: ~(x > 0) & (x < 3) | (x == 3) ^ (x != 2),
    "what is not finite": lambda xp, x: xp.where(
        xp.isfinite(1 / x), xp.log(x), xp.astype(xp.isnan(xp.sqrt(x)), x.dtype)
    ),
    "infinite and no number": lambda xp, x: xp.maximum(xp.where(x > 0, -xp.inf, xp.nan), x) + xp.minimum(x, xp.inf),
    "signs": lambda xp, x: xp.sign(x) + xp.sign(0 / x) + xp.abs(-x) + xp.round(x / 2),
    "functions": lambda xp, x: xp.tanh(xp.expm1(x) + xp.log1p(xp.abs(x)) ** 1.5) + xp.atan2(x, x + 1),
    "largest and smallest of integers": lambda xp, x: (
        xp.max(xp.astype(x, xp.int32)) - xp.min(xp.astype(x, xp.int64), axis=0)
    ),
    "any and all": lambda xp, x: xp.any(x > 3, axis=1) & ~xp.all(x > -9, axis=1),
    "the index of the largest": lambda xp, x: xp.argmax(x, axis=1) + xp.sum(xp.astype(x, xp.int32), axis=1),
    "axes at both ends": lambda xp, x: xp.sum(xp.reshape(x, (3, 2, 2)), axis=(0, 2)),
    "joined by columns": lambda xp, x: xp.concat([x, x * 2, x[:, :1]], axis=1) + 1,
    "constants that are joined": lambda xp, x: xp.concat(
        [xp.ones(3) * 2.5 * xp.ones(3), x[0], xp.sum(xp.ones((2, 3)), axis=1)]
    ),
    "constants that are multiplied": lambda xp, x: xp.matmul(xp.ones((3, 3)), xp.ones((3, 4))) + 1.0 + x,
    "joined rows of few numbers": lambda xp, x: xp.concat([xp.reshape(x, (6, 2)) * k for k in range(8)]) + 1,
    "joined within what is joined": lambda xp, x: xp.concat(
        [xp.concat([x[0] * 2, x[1]]), x[2], xp.concat([x[0] * 2, x[0] + x[1]])]
    ),
    "joined, and a piece read when that is no more": lambda xp, x: joined_and_read(xp, x[0] * 2, x[1]),
    "joined and read again": lambda xp, x: xp.sum(xp.concat([x * 2, x * 2, x])[1:], axis=0),
    "rows": lambda xp, x: xp.take(x, xp.astype(x[:, 0] > 0, xp.int64), axis=0) * 2,
    "batched products": lambda xp, x: xp.matmul(x[:, None, :], x[:, :, None]),
    "a product of views": lambda xp, x: xp.matmul(
        xp.matrix_transpose(x[::2, 1:]), xp.broadcast_to(x[:1, ::-1], (2, 4))
    ),
    "a product of a view that is an output too": lambda xp, x: {"m": x[::2, 1:], "p": xp.matmul(x[::2, 1:], x[:, :2])},
    "a product of a view that is a piece too": lambda xp, x: {
        "m": xp.concat([x[::2, 1:] * 2, x[::2, 1:]]),
        "p": xp.matmul(x[::2, 1:], x[:, :2]),
    },
    "a product of a product": lambda xp, x: xp.matmul(xp.matmul(x, xp.matrix_transpose(x)) * 0.1, x) + 1,
    "multiples that are added": lambda xp, x: (x * 2 + 3 * xp.exp(x)) - (x[0, 0] * (x + 0.5 * x) - 0.25 * x),
    "multiples that lie in another order": lambda xp, x: xp.exp(x) + 2 * xp.matrix_transpose(xp.reshape(x, (4, 3)) * 3),
    "a product and a row": lambda xp, x: xp.matmul(x, xp.matrix_transpose(x)) * 2 + x[0, :3],
    "a product from which another is taken": lambda xp, x: xp.matmul(x[:, :3], x) - 3 * xp.matmul(x[:, 1:], x),
    "products of no rows in order": lambda xp, x: x[:, :2] - xp.matmul(x[:, ::2], x[::2, ::2]) * x[:1, :1],
    "a product that is a row for all": lambda xp, x: x + xp.matmul(x[:1, :3], x),
    "a product of one row many times": lambda xp, x: x + xp.matmul(xp.broadcast_to(x[:1, :3], (3, 3)), x),
    "a product that is read twice": lambda xp, x: twice(x, xp.matmul(x, xp.matrix_transpose(x))),
    "products of integers": lambda xp, x: (
        xp.astype(x, xp.int32)[:, :3] + xp.matmul(xp.astype(x, xp.int32), xp.astype(xp.matrix_transpose(x), xp.int32))
    ),
    "a long chain": lambda xp, x: functools.reduce(lambda y, _: y * 0.99 + 0.01, range(500), x),
    "many chains": lambda xp, x: chain(xp, x, 40),
    "counted": lambda xp, x: xp.arange(2, 10, 2) * x + xp.reshape(xp.arange(12), (3, 4)),
    "constant": lambda xp, x: xp.zeros((2, 2)) + 1,
    "sorted and looked up": lambda xp, x: {
        "m": xp.take_along_axis(x, xp.argsort(-x, axis=0), axis=0) * 2,
        "p": xp.searchsorted(xp.sort(x[0]), x[1]) + xp.argsort(x[2]),
    },
    "summed and multiplied up to each": lambda xp, x: xp.cumulative_sum(x, axis=1) + xp.cumulative_prod(x, axis=0),
    "functions that are rarely used": lambda xp, x: {
        "m": xp.logaddexp(x, xp.hypot(x, 2 * x)) + xp.copysign(xp.square(x), x) + xp.remainder(x, 3.0) + x // 2,
        "p": xp.acosh(xp.cosh(x)) + xp.asinh(xp.sinh(x)) + xp.atan(xp.tan(x)) + xp.trunc(xp.log2(1 + xp.abs(x))),
    },
}


def joined_and_read(xp: Any, piece: Any, other: Any) -> Any:
    changed = xp.tanh(xp.concat([piece, other]))
    return {"changed": changed, "piece": piece + changed[:4]}


def twice(x: Any, product: Any) -> Any:
    return (x[:, :3] + product) * product


def chain(xp: Any, x: Any, length: int) -> Any:
    for _ in range(length):
        x = xp.tanh(x) * x + xp.exp(-x * x)
    return x


@compiling
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_whatever_the_standard_has(backend_name: str, name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        found = EXPRESSIONS[name](xp, batch[0])
        return state, {"x": batch[0], **(found if isinstance(found, dict) else {"m": found})}

    assert_compiled_is_the_step(backend_name, step, (), (B,))


@compiling
@pytest.mark.parametrize("shape", [(3, 4), (70, 90), (1, 5000), (600, 1), (5, 7, 130), (60, 3, 30)])
def test_reductions_of_any_size_along_any_axes(backend_name: str, shape: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        metrics = {}
        for axis in (*range(x.ndim), None):
            centred = x - xp.max(x, axis=axis, keepdims=True)
            spread = xp.sum(xp.exp(centred), axis=axis, keepdims=True)
            metrics[f"softmax {axis}"] = xp.exp(centred) / spread
            metrics[f"smallest {axis}"] = xp.min(centred, axis=axis)
        return state, metrics

    assert_compiled_is_the_step(backend_name, step, (), (np.random.default_rng(0).normal(size=shape),), 1e-10)


@compiling
def test_rows_that_are_joined_are_no_rows_of_the_blocks_that_wrote_them(backend_name: str) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        # Four blocks write the pieces, one for each row of (2, 2), and four rows are joined of them.
        pieces = [xp.max(x, axis=2, keepdims=True) - x[:, :, :700] for x in (batch[0], -batch[0])]
        return state, {"sums": xp.sum(xp.concat(pieces), axis=(1, 2))}

    assert_compiled_is_the_step(backend_name, step, (), (np.random.default_rng(0).normal(size=(2, 2, 2000)),))


UNARY: list[Callable[[Any, Any], Any]] = [
    lambda xp, x: xp.tanh(x),
    lambda xp, x: xp.where(x > 0, x, 0.1 * x),
    lambda xp, x: x - xp.max(x, axis=-1, keepdims=True),
    lambda xp, x: x / (1 + xp.sum(x * x, axis=0, keepdims=True)),
    lambda xp, x: xp.matrix_transpose(x) + xp.sum(x),
    lambda xp, x: xp.reshape(x, (x.shape[1], x.shape[0])) * 0.5,
    lambda xp, x: x[::-1],
    lambda xp, x: xp.concat([x[:2] * 0.5, x[2:]]),
    lambda xp, x: xp.concat([x[:, 1:], x[:, :1]], axis=1),
    lambda xp, x: xp.astype(xp.astype(10 * xp.tanh(x), xp.int32), x.dtype) * 0.1,
]
BINARY: list[Callable[[Any, Any, Any], Any]] = [
    lambda xp, x, y: x + y[:1, :1],
    lambda xp, x, y: x * xp.sum(y),
    lambda xp, x, y: xp.tanh(xp.matmul(x, xp.reshape(y, (x.shape[1], -1)))[:, :1]) + x,
    lambda xp, x, y: xp.maximum(x, xp.reshape(y, x.shape)) if x.size == y.size else x,
    lambda xp, x, y: 0.5 * x - xp.matmul(xp.matmul(x, xp.matrix_transpose(x)), xp.tanh(x)) * (0.01 * y[0, 0]),
]


@compiling
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    sizes=st.sampled_from([(4, 6), (60, 80)]),
    steps=st.lists(
        st.tuples(st.integers(0, len(UNARY) + len(BINARY) - 1), st.integers(0, 9), st.integers(0, 9)),
        min_size=3,
        max_size=12,
    ),
    states=st.lists(st.integers(0, 9), min_size=2, max_size=2),
    read=st.lists(st.integers(0, 9), min_size=1, max_size=3),
)
def test_programs_made_at_random(backend_name: str, sizes: Any, steps: Any, states: Any, read: Any) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        known = [*state, *batch]
        for which, first, second in steps:
            x, y = known[first % len(known)], known[second % len(known)]
            known.append(UNARY[which](xp, x) if which < len(UNARY) else BINARY[which - len(UNARY)](xp, x, y))
        new = [xp.tanh(xp.reshape(known[-1 - i % len(known)], sizes)) for i in states]
        return tuple(new), {str(i): known[-1 - n % len(known)] * 1.0 for i, n in enumerate(read)}

    generator = np.random.default_rng(0)
    state = tuple(generator.normal(size=sizes) for _ in range(2))
    assert_compiled_is_the_step(backend_name, step, state, (generator.normal(size=sizes),), 1e-9, reuse=1)
