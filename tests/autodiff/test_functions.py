"""value_and_grad, grad, vjp and jacobian, on the arrays of every library."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest

import anynet
from anynet.autodiff import grad, jacobian, value_and_grad, vjp
from anynet.errors import UsageError

X = np.random.default_rng(0).normal(size=(4, 3))
W = np.random.default_rng(1).normal(size=(3, 2))


def loss(x: Any, w: Any) -> Any:
    xp = x.__array_namespace__()
    return xp.sum(xp.tanh(x @ w) ** 2) + xp.max(w)


def test_of_any_librarys_arrays_they_are_those_of_numpy(backend_name: str) -> None:
    backend = anynet.backends.select(backend_name, dtype="float64")
    value, gradients = value_and_grad(loss, (0, 1))(X, W)
    with backend.scope():
        there = value_and_grad(loss, (0, 1))(backend.asarray(X), backend.asarray(W))
    np.testing.assert_allclose(backend.to_numpy(there[0]), value, rtol=1e-14)
    for found, expected in zip(there[1], gradients, strict=True):
        assert type(found) is type(backend.asarray(X))
        np.testing.assert_allclose(backend.to_numpy(found), expected, rtol=0, atol=1e-14)


def test_float32_stays_float32(backend_name: str) -> None:
    backend = anynet.backends.select(backend_name, dtype="float32")
    with backend.scope():
        value, gradient = value_and_grad(loss)(backend.asarray(X), backend.asarray(W))
    assert backend.to_numpy(value).dtype == backend.to_numpy(gradient).dtype == np.float32


def test_gradients_have_the_structure_of_their_argument() -> None:
    def of_tree(p: Any, scale: float) -> Any:
        return (p["a"] * p["b"][0] * scale).__array_namespace__().sum(p["a"] * p["b"][0] * scale)

    gradient = grad(of_tree)({"b": (np.asarray(2.0), np.ones(2)), "a": np.ones(3)}, scale=3.0)
    np.testing.assert_array_equal(gradient["a"], 6 * np.ones(3))
    np.testing.assert_array_equal(gradient["b"][0], 9.0)
    np.testing.assert_array_equal(gradient["b"][1], np.zeros(2))


def test_what_is_returned_beside_the_value_is_not_differentiated() -> None:
    def with_aux(x: Any) -> Any:
        xp = x.__array_namespace__()
        return xp.sum(x * x), {"largest": xp.max(x), "rows": 3}

    (value, aux), gradient = value_and_grad(with_aux, has_aux=True)(X)
    assert float(value) == pytest.approx((X**2).sum())
    assert float(aux["largest"]) == X.max()
    np.testing.assert_allclose(gradient, 2 * X)
    assert grad(with_aux, has_aux=True)(X)[1]["largest"] == X.max()


def test_integers_and_conditions_may_stand_beside_what_is_differentiated() -> None:
    def chosen(w: Any, rows: Any, keep: Any) -> Any:
        xp = w.__array_namespace__()
        return xp.sum(xp.where(keep, w[rows], 0.0))

    gradient = grad(chosen)(np.ones(3), np.asarray([2, 2, 0]), np.asarray([True, True, False]))
    np.testing.assert_array_equal(gradient, [0.0, 0.0, 2.0])


def test_derivatives_of_derivatives() -> None:
    def fifth(x: Any) -> Any:
        return x**5

    assert float(grad(grad(grad(fifth)))(2.0)) == 240.0


def test_a_hessian_vector_product_is_a_gradient_of_a_gradient() -> None:
    def along(x: Any, v: Any) -> Any:
        return x.__array_namespace__().sum(grad(lambda x: loss(x, W))(x) * v)

    v = np.ones_like(X)
    hessian = jacobian(grad(lambda x: loss(x, W)))(X)
    np.testing.assert_allclose(grad(along)(X, v), np.tensordot(hessian, v, 2), atol=1e-12)
    np.testing.assert_allclose(hessian, hessian.transpose(2, 3, 0, 1), atol=1e-12)


def test_an_inner_function_may_use_what_the_outer_one_differentiates() -> None:
    # d/dx of (x d/dy (x y^2) at y = 3) = d/dx 6 x^2.
    outer = grad(lambda x: x * grad(lambda y: x * y**2)(3.0))
    assert float(outer(2.0)) == 24.0


@pytest.mark.parametrize("library", [np, pytest.param("torch", marks=pytest.mark.needs("torch"))])
def test_an_array_from_outside_counts_as_it_is_when_it_is_used(library: Any) -> None:
    library = importlib.import_module(library) if isinstance(library, str) else library

    def total(x: Any) -> Any:
        scale, y = library.ones(3), x * 0.0
        for _ in range(3):
            y = y + x * scale * scale
            scale *= 0.5
        return x.__array_namespace__().sum(y)

    value, gradient = value_and_grad(total)(library.ones(3))
    assert float(value) == 3 * (1 + 1 / 4 + 1 / 16)
    np.testing.assert_array_equal(np.asarray(gradient), np.full(3, 1 + 1 / 4 + 1 / 16))


def test_vjp_pulls_back_as_often_as_asked() -> None:
    (_, total), pull_back = vjp(lambda x, w: (x @ w, x.__array_namespace__().sum(x)), X, W)
    assert float(total) == pytest.approx(X.sum())
    for scale in (1.0, 2.0):
        dx, dw = pull_back((scale * np.ones((4, 2)), np.asarray(0.0)))
        np.testing.assert_allclose(dx, scale * np.ones((4, 2)) @ W.T)
        np.testing.assert_allclose(dw, scale * X.T @ np.ones((4, 2)))


def test_a_jacobian_has_the_shapes_of_value_and_argument() -> None:
    found = jacobian(lambda w: X @ w)(W)
    assert found.shape == (4, 2, 3, 2)
    np.testing.assert_allclose(found[:, 0, :, 0], X)
    assert jacobian(lambda w: w[:0])(W).shape == (0, 2, 3, 2)


def test_arguments_are_counted_from_the_end_too() -> None:
    def last(*args: Any) -> Any:
        return args[0] * args[-1]

    np.testing.assert_array_equal(jacobian(last, -1)(X[0], W[:, 0]), np.diag(X[0]))
    assert float(grad(last, -1)(2.0, 5.0)) == 2.0


@pytest.mark.parametrize("dvalue", [(X, X), {"a": X, "c": X}, {"a": X}, {"a": X, "b": W}])
def test_vjp_refuses_a_gradient_of_another_structure_than_the_value(dvalue: Any) -> None:
    _, pull_back = vjp(lambda x: {"a": x, "b": 2.0 * x}, X)
    with pytest.raises(UsageError, match="must have the structure and shapes of the value"):
        pull_back(dvalue)


@pytest.mark.parametrize("argnums", [2, -3, (0, 0), (0, -2), (1, 2)])
def test_arguments_that_are_not_there_or_told_twice_are_refused(argnums: Any) -> None:
    with pytest.raises(UsageError, match="different ones of the 2 positional arguments"):
        grad(lambda x, y: x * y, argnums)(2.0, 5.0)


def test_a_gradient_has_the_dtype_of_its_argument_whatever_that_of_the_value_is() -> None:
    _, pull_back = vjp(lambda x: x * x, np.ones(2, np.float32))
    for dvalue in (np.ones(2), np.ones(2, int), np.ones(2, np.float32)):
        assert pull_back(dvalue)[0].dtype == np.float32


@pytest.mark.parametrize(
    ("function", "argument", "words"),
    [
        (lambda x: x * float(x[0, 0]), X, "because of an array's value"),
        (lambda x: x.sum(), X, "because of the attribute sum of an array"),
        (lambda x: x, X, r"returns an array of shape \(4, 3\): use vjp"),
        (lambda x: (x[0, 0], x[0, 1]), X, "returns arrays of shapes"),
        (lambda x: x.__array_namespace__().sum(x), np.arange(3), "an argument is an array of int64: cast it first"),
        (lambda x: x * x, "2", "an argument is '2'"),
        (lambda x: x.__array_namespace__().cumulative_prod(x[0])[2], X, "cumulative_prod has no derivative here: use"),
        (lambda x: x.__array_namespace__().linalg.inv(x)[0, 0], X, "linalg.inv, which cannot be recorded"),
        (lambda x: x.__imul__(2)[0, 0], X, "changes an argument in place; copy it first"),
    ],
)
def test_what_cannot_be_differentiated_is_told(function: Any, argument: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        grad(function)(argument)


def test_arrays_from_outside_are_asked_for_as_arguments() -> None:
    from array_api_compat import array_namespace

    with pytest.raises(UsageError, match="pass it those as arguments, too"):
        grad(lambda x: array_namespace(x, W).sum(x @ W))(X)


def test_they_are_public() -> None:
    assert (anynet.grad, anynet.value_and_grad, anynet.vjp, anynet.jacobian) == (grad, value_and_grad, vjp, jacobian)
