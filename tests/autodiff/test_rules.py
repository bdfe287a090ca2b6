"""The rule of each operation, against central differences of the operation and of its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autodiff.differences import central_differences

from anynet.autodiff import grad, value_and_grad
from anynet.autodiff.rules import BINARY_RULES, FLAT, INSTEAD, OTHER_RULES, UNARY_RULES
from anynet.tracing.program import ALONG_AN_AXIS, BINARY, ELEMENTWISE, REDUCTIONS, UNARY, VIEWS

pytestmark = pytest.mark.host

# Where a function is not defined on all numbers, these are.
INSIDE = {"acos": (-0.9, 0.9), "asin": (-0.9, 0.9), "atanh": (-0.9, 0.9), "acosh": (1.1, 3.0), "sign": (0.1, 1.0)}
POSITIVE = dict.fromkeys(("log", "log10", "log1p", "log2", "sqrt", "pow"), (0.2, 2.0))

OTHERS: dict[str, Callable[[Any, Any], Any]] = {
    "where": lambda xp, x: xp.where(x > 0.2, x * x, x[0]),
    "where, of a number": lambda xp, x: xp.where(x > 0.2, 1.0, x),
    "astype": lambda xp, x: xp.astype(xp.astype(x, xp.float64), x.dtype) * x,
    "sum": lambda xp, x: xp.sum(x * x, axis=0) * xp.sum(x, axis=(0, 1), keepdims=True),
    "prod": lambda xp, x: xp.prod(x, axis=0) + xp.prod(x[:, :3], axis=(0, 1)) + xp.prod(x, axis=1)[0],
    "prod, of zeros": lambda xp, x: xp.prod(x * xp.asarray([1.0, 0.0, 2.0, 1.0]), axis=1),
    "max": lambda xp, x: xp.max(x, axis=1) * xp.max(x),
    "min": lambda xp, x: xp.min(x, axis=0, keepdims=True) * x,
    "matmul": lambda xp, x: xp.matmul(x, x.T) + xp.matmul(x, x[0]),
    "matmul, broadcast": lambda xp, x: xp.matmul(xp.reshape(x, (3, 1, 4)), xp.stack([x.T, x.T * x.T])[:, None]),
    "reshape": lambda xp, x: xp.reshape(x, (2, 6)) ** 2,
    "permute_dims": lambda xp, x: xp.permute_dims(x[None], (2, 0, 1)) * x[0, 0],
    "broadcast_to": lambda xp, x: xp.broadcast_to(x, (2, 3, 4)) * xp.broadcast_to(x[:, :1], (3, 4)),
    "slice": lambda xp, x: x[::2, 1:] * x[::2, :-1] + x[2, 3] + x[1:2, ::3][:, :1],
    "slice, backwards": lambda xp, x: x[::-1, 3:0:-2] ** 2,
    "concat": lambda xp, x: xp.concat([x, x[:1] * x[1:2]], axis=0) ** 2,
    "take": lambda xp, x: xp.take(x, xp.asarray([2, 0, 0]), axis=1) ** 2,
    "take, by a table": lambda xp, x: x[xp.asarray([[0, -1], [2, 2]])] ** 2,
    "take, of both axes": lambda xp, x: x[xp.asarray([0, -1]), xp.asarray([1, -2])] ** 2,
    "take_along_axis": lambda xp, x: xp.take_along_axis(x, xp.argsort(x, axis=0)[:2, :], axis=0) ** 2,
    "take, from the end": lambda xp, x: xp.take(x, xp.asarray([-1, 0, -1]), axis=0) ** 2,
    "take_along_axis, from the end": lambda xp, x: xp.take_along_axis(x, xp.asarray([[-1, 1], [0, 0], [-4, 3]])) ** 2,
    "sort, of nothing": lambda xp, x: xp.concat([xp.sort(x[:0], axis=0), x]) ** 2,
    "cumulative_sum": lambda xp, x: xp.cumulative_sum(x, axis=1, include_initial=True) ** 2,
    "segment_sum": lambda xp, x: xp.segment_sum(x, xp.asarray([1, 3, 1]), 4) ** 2,
    "all_reduce": lambda xp, x: xp.reshape(xp.all_reduce(lambda x, out: x * 2, xp.reshape(x * x, (-1,))), x.shape),
    "sort": lambda xp, x: xp.sort(x, axis=0, descending=True) * xp.asarray([1.0, 2.0, 3.0])[:, None],
    "assigned": lambda xp, x: set_to(x * 1.0, (slice(None), 1), x[:, 2] ** 2) * x,
    "assigned, where it holds": lambda xp, x: set_to(x * x, x > 0.1, 0.0),
    "changed in place": lambda xp, x: set_to(x * 1.0, ..., x * x) * x,
    "variance": lambda xp, x: xp.var(x, axis=0, correction=1) + xp.std(x),
    "norm": lambda xp, x: xp.linalg.vector_norm(x, axis=1) * xp.linalg.vector_norm(x, ord=3),
    "tensordot": lambda xp, x: xp.tensordot(x, x, axes=((1,), (1,))) + xp.vecdot(x, x),
}


def set_to(x: Any, key: Any, new: Any) -> Any:
    x[key] = new
    return x


def assert_derivatives_are_right(function: Callable[[Any, Any], Any], x: Any) -> None:
    """Compare the gradient of a weighted sum, and that of a weighted sum of its gradient, with differences."""

    def weighted(x: Any) -> Any:
        xp = x.__array_namespace__()
        return _weighted_sum(xp, function(xp, x))

    def of_gradient(x: Any) -> Any:
        return _weighted_sum(x.__array_namespace__(), grad(weighted)(x))

    first = grad(weighted)(x)
    np.testing.assert_allclose(first, central_differences(of(weighted), x), rtol=1e-6, atol=1e-7)
    second = grad(of_gradient)(x)
    np.testing.assert_allclose(second, central_differences(of(of_gradient), x), rtol=1e-5, atol=1e-6)


def of(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The value of a function as it is recorded, since NumPy itself lacks some of the functions."""
    return lambda x: value_and_grad(function)(x)[0]


def _weighted_sum(xp: Any, y: Any) -> Any:
    return xp.sum(y * xp.cos(xp.reshape(xp.astype(xp.arange(y.size), y.dtype), y.shape)))


def drawn(low: float = -1.0, high: float = 1.0) -> Any:
    return np.random.default_rng(3).uniform(low, high, (3, 4))


@pytest.mark.parametrize("op", UNARY_RULES)
def test_of_one_array(op: str) -> None:
    low, high = (INSIDE | POSITIVE).get(op, (-1.0, 1.0))
    assert_derivatives_are_right(lambda xp, x: getattr(xp, op)(x), drawn(low, high))


@pytest.mark.parametrize("op", BINARY_RULES)
def test_of_two_arrays_with_one_broadcast(op: str) -> None:
    x = drawn(0.3, 2.0)
    assert_derivatives_are_right(lambda xp, x: getattr(xp, op)(x, x[1] * 1.5 + 0.01), x)
    assert_derivatives_are_right(lambda xp, x: getattr(xp, op)(x[:, :1] * 1.5 + 0.01, x), x)


@pytest.mark.parametrize("name", OTHERS)
def test_of_other_operations(name: str) -> None:
    assert_derivatives_are_right(OTHERS[name], drawn())


def test_each_operation_has_a_rule_or_is_flat_or_has_a_reason() -> None:
    # These give booleans or integers.
    of_no_floats = {"all", "any", "argmax", "argmin", "argsort", "searchsorted", "signbit"}
    of_no_floats |= {op for op in UNARY | BINARY if op.startswith(("bitwise", "logical", "is", "less", "greater"))}
    of_no_floats |= {"equal", "not_equal"}
    operations = {*UNARY, *BINARY, *ELEMENTWISE, *VIEWS, *REDUCTIONS, *ALONG_AN_AXIS, "matmul", "concat", "take"}
    operations |= {"take_along_axis", "searchsorted", "segment_sum", "all_reduce"}
    assert operations == {*UNARY_RULES, *BINARY_RULES, *OTHER_RULES, *INSTEAD, *of_no_floats} | (FLAT & operations)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_indices_of_a_small_dtype_reach_all_of_a_large_array(dtype: str) -> None:
    rows, columns = np.asarray([19, 15, 2], dtype), np.asarray([[29], [1], [16]], dtype)

    def total(x: Any) -> Any:
        xp = x.__array_namespace__()
        return xp.sum(x[rows, columns[:, 0]] * np.asarray([1.0, 2.0, 3.0])) + xp.sum(
            xp.take_along_axis(x[17:, :], columns, axis=1)
        )

    x, expected = np.random.default_rng(0).normal(size=(20, 30)), np.zeros((20, 30))
    expected[rows, columns[:, 0]] = [1.0, 2.0, 3.0]
    expected[[17, 18, 19], columns[:, 0]] += 1.0
    value, gradient = value_and_grad(total)(x)
    assert float(value) == pytest.approx(float((x * expected).sum()))
    np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("op", ["maximum", "minimum"])
def test_at_a_tie_each_of_two_takes_half(op: str) -> None:
    x = np.ones(3)
    both = grad(lambda x, y: x.__array_namespace__().sum(getattr(x.__array_namespace__(), op)(x, y)), (0, 1))(x, x)
    np.testing.assert_array_equal(both, 0.5 * np.ones((2, 3)))


def test_a_power_has_gradients_at_zero() -> None:
    def total(x: Any, n: Any) -> Any:
        return x.__array_namespace__().sum(x**n)

    dx, dn = grad(total, (0, 1))(np.asarray([0.0, 0.0, 0.0]), np.asarray([0.0, 1.0, 2.0]))
    np.testing.assert_array_equal(dx, [0.0, 1.0, 0.0])
    np.testing.assert_array_equal(dn, [0.0, 0.0, 0.0])
