"""Whatever a step does, and to whatever numbers, NumPy's compiled steps compute it as NumPy does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from backends.numpy_steps import assert_the_same, both_ways, read

from anynet.backends import select
from anynet.backends.base import Backend
from anynet.backends.numpy.blas import threads

pytestmark = pytest.mark.host


def changed_in_place(change: Any) -> Any:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        change(state[0], batch[0])
        return state, {"m": state[0] * 1.0}

    return step


def sum_of_two_names(s: Any, x: Any) -> Any:
    loss = np.sum(x)
    total = loss
    total += np.sum(s)
    return loss * 1.0


def subtracted_in_rows(s: Any, x: Any) -> Any:
    y = np.copy(x)
    y -= y[0]
    return y * 2.0


def read_before_it_changes(s: Any, x: Any) -> Any:
    w = x * 1.0
    d = w[:, None, :] - w
    w *= 2.0
    return d + w


UNUSUAL = {
    "takes negative rows": read(lambda s, x: np.take(s, np.asarray([-1, 0]), axis=0)),
    "takes out of range": read(lambda s, x: np.take(s, (x[0] * 0 + 1000).astype(int), axis=0)),
    "subtracts its own first row": read(subtracted_in_rows),
    "reads what changes later": read(read_before_it_changes),
    "matrix products": read(lambda s, x: (x @ s) * 2.0),
    "vector products": read(lambda s, x: np.vecdot(x, s) * 2.0),
    "copies into the state": changed_in_place(lambda s, x: np.copyto(s, s + x)),
    "accumulates into the state": changed_in_place(lambda s, x: np.cumsum(s, axis=0, out=s)),
    "a product into the state": changed_in_place(lambda s, x: np.dot(x, s * 1.0, out=s)),
    "adds at rows": changed_in_place(lambda s, x: np.add.at(s, 0, 1.0)),
    "sets rows": changed_in_place(lambda s, x: s.__setitem__(0, x[0])),
    "reverses": changed_in_place(lambda s, x: np.add(s, s[::-1], out=s)),
    "swaps its arrays": lambda xp, state, batch: ((state[1], state[0]), {"m": np.sum(batch[0])}),
    "swaps its keys": lambda xp, state, batch: (state[::-1], {"m": np.sum(batch[0])}),
    "returns one array twice": lambda xp, state, batch: ((state[0] + 1,) * 2, {"m": np.sum(batch[0])}),
    "shrinks its state": lambda xp, state, batch: ((np.sum(state[0]), *state[1:]), {"m": np.sum(batch[0])}),
    "adds to a number": read(sum_of_two_names),
    "reshapes by numbers": read(lambda s, x: x.reshape(-1, 1) * 1.0),
    "changes a view of at least one axis": changed_in_place(lambda s, x: np.atleast_1d(s).__iadd__(x)),
    "chooses by value": read(lambda s, x: np.sum(x[x > 0])),
    "finds nonzero": read(lambda s, x: np.sum(np.flatnonzero(x > 0))),
    "reads a value": read(lambda s, x: x * float(x[0, 0] > 0)),
    "looks up by sorted rows": read(lambda s, x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0)),
    "inverts": read(lambda s, x: np.linalg.inv(x + 100 * np.eye(len(x)))),
    "transposes first": read(lambda s, x: np.sum(np.exp(np.matrix_transpose(x)), axis=0)),
    "raises a number to a power": read(lambda s, x: np.sum(x) ** 2 + np.sum(s) ** 0.5),
    "takes remainders apart": read(lambda s, x: np.modf(x)[0] + np.divmod(x, 2.0)[1]),
    "adds where": read(lambda s, x: np.add(x, s, where=x > 0, out=x * 0.0) + np.sum(x, where=x > 0)),
    "joins to another dtype": read(lambda s, x: np.concatenate([x, s], dtype=np.float32)),
    "multiplies with numbers": read(lambda s, x: np.dot(2.0, x) + np.dot([1.0] * len(x), x)),
    "mean, spread and largest": read(lambda s, x: np.mean(x, axis=0) + np.std(x, axis=0) + np.max(x)),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "default:this step cannot be compiled")
@pytest.mark.parametrize("name", UNUSUAL)
def test_whatever_a_step_does_comes_out_as_in_the_plain_loop_and_is_said_once(
    name: str, recwarn: pytest.WarningsRecorder
) -> None:
    rows = 20
    generator = np.random.default_rng(0)
    backend = select("numpy", "float64")
    for _ in range(3):
        state = generator.uniform(1, 2, (rows, rows)), generator.uniform(1, 2, (rows, rows))
        batches = (generator.normal(size=(4, rows, rows)),)
        with threads(one=True):
            expected, actual = (
                outcome(run, UNUSUAL[name], tuple(s.copy() for s in state), batches)
                for run in (lambda *a: Backend.run(backend, *a), backend.run)
            )
        if isinstance(expected, type):
            assert actual is expected
        else:
            assert_the_same(expected, actual)
    is_said = [str(warning.message) for warning in recwarn if warning.category is UserWarning]
    is_refused = any(made is None for made in backend._known.values())  # type: ignore[attr-defined]
    # A step that is wrong says so itself.
    assert len(is_said) == (is_refused and not isinstance(expected, type))


def outcome(run: Any, *arguments: Any) -> Any:
    try:
        return run(*arguments)
    except Exception as error:
        return type(error)


def test_a_product_of_no_numbers_is_added_too() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        return state, {"m": x + xp.matmul(x[:, :0], x[:0]), "n": x[:0] + xp.matmul(x[:0], x), "o": x[-300::-1]}

    assert_the_same(*both_ways(step, (), (np.random.default_rng(0).normal(size=(2, 200, 200)),)))


STRANGE: dict[str, Callable[[Any, Any], Any]] = {
    "absolute values of complex numbers": lambda xp, x: xp.abs(xp.astype(x, xp.complex128) * (3 + 4j)),
    "means of small numbers": lambda xp, x: xp.mean(xp.astype(x * 100, xp.float16)) + x,
    "sums of small numbers": lambda xp, x: xp.sum(xp.astype(x * 100, xp.float16), axis=0) + x,
    "integers beside each other": lambda xp, x: (
        (xp.astype(x * 0, xp.uint64) + (2**62 + 1)) < (xp.astype(x * 0, xp.int64) + (2**62 + 2))
    ),
    "a masked array": lambda xp, x: x + xp.sum(np.ma.MaskedArray(np.ones(x.shape), x.shape[0] * [[1, 0]]) * x),
    "no number": lambda xp, x: x + np.asarray([np.nan, 1.0]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STRANGE)
def test_numbers_of_other_kinds_are_computed_with_as_numpy_does(name: str) -> None:
    backend = select("numpy", "float64")
    x = np.random.default_rng(0).uniform(1, 2, (3, 3000, 2))
    step = read(lambda s, x: STRANGE[name](backend.xp, x))
    (_, expected), (_, actual) = (
        run(step, (np.ones(1),), (x,)) for run in (partial(Backend.run, backend), backend.run)
    )
    assert_the_same((expected["m"],), (actual["m"],))


def zeros_times(xp: Any, state: Any, batch: Any) -> Any:
    a, b, zero = batch
    return (state[0] * zero - xp.matmul(a, b), state[1] - xp.matmul(b, b) * zero, state[2] + zero * a), {"m": zero}


def test_what_is_multiplied_by_0_need_not_be_finite() -> None:
    state = tuple(np.full((160, 160), value) for value in (np.nan, 1.0, 2.0))
    batch = (np.full((2, 160, 160), np.inf), np.full((2, 160, 160), np.inf), np.zeros(2))
    with np.errstate(all="ignore"):
        expected, _ = Backend.run(select("numpy", "float64"), zeros_times, tuple(x.copy() for x in state), batch)
    actual, _ = select("numpy", "float64").run(zeros_times, state, batch)
    for one, other in zip(expected, actual, strict=True):
        assert np.isnan(one).all()
        assert np.isnan(other).all()


def test_numbers_that_lie_in_odd_steps_are_multiplied_as_they_are() -> None:
    records = np.zeros(160, [("x", "f8", (3,)), ("odd", "u1")])
    records["x"] = np.random.default_rng(0).normal(size=(160, 3))

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return (state[0], batch[0] + xp.matmul(state[0], batch[1])), {"m": xp.matmul(records["x"], batch[1]) + batch[0]}

    batch = (np.ones((2, 160, 160)), np.ones((2, 3, 160)))
    backend = select("numpy", "float64")
    for x in (records["x"].copy(), records["x"]):
        state, metrics = backend.run(step, (x, np.zeros((160, 160))), batch)
        expected = np.broadcast_to(records["x"].sum(axis=1)[:, None] + 1, (160, 160))
        np.testing.assert_allclose(state[1], expected)
        np.testing.assert_allclose(metrics["m"][1], expected)
