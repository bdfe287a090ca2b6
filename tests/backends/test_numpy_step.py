"""A step compiled to NumPy's calls computes what the step does."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.backends import select
from anynet.backends.base import Backend
from anynet.backends.numpy import cblas
from anynet.backends.numpy.blas import threads
from anynet.backends.numpy.step import CompiledStep
from anynet.model import Model
from anynet.tracing.trees import leaves, rebuilt

pytestmark = pytest.mark.host

BATCH = 7
STEPS = 5


def both_ways(step: Any, state: Any, batches: Any) -> tuple[Any, Any]:
    """State and metrics after the plain loop, and after playing back, from the same start."""
    backend = select("numpy", "float64")
    own = rebuilt(state, iter([np.array(leaf) for leaf in leaves(state)]))
    # A thread more would cut a product in two, and round it differently.
    with threads(one=True):
        expected = Backend.run(backend, step, state, batches)
        actual = backend.run(step, own, batches)
    assert [type(made) for made in backend._known.values()] == [CompiledStep]
    return expected, actual


def assert_the_same(expected: Any, actual: Any, tolerance: float = 1e-12) -> None:
    """But for the order in which numbers are added up."""
    for one, other in zip(leaves(expected), leaves(actual), strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(other, one, rtol=tolerance, atol=tolerance)


def running_sum(xp: Any, state: Any, batch: Any) -> Any:
    total = state["total"]
    total += batch[0]
    return {"total": total}, {"total": total * 1.0}


def test_the_state_that_is_given_is_left_as_it_is() -> None:
    backend = select("numpy")
    total = np.zeros(2)
    for start in (0, 10):
        total[:] = start
        state, metrics = backend.run(running_sum, {"total": total}, (np.ones((3, 2)),))
        np.testing.assert_array_equal(total, start)
        np.testing.assert_array_equal(state["total"], start + 3)
        np.testing.assert_array_equal(metrics["total"][:, 0], [start + 1, start + 2, start + 3])


@pytest.mark.filterwarnings("ignore:this step runs operation by operation")
def test_an_array_that_the_step_changes_itself_is_read_as_it_is_then() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        constant = np.ones(2)
        first = batch[0] * constant
        constant *= 2
        return state, {"sum": first + batch[0] * constant}

    _, metrics = select("numpy", "float64").run(step, (), (np.ones((3, 2)),))
    np.testing.assert_array_equal(metrics["sum"], np.full((3, 2), 3.0))


def test_memory_is_used_again_only_when_nothing_can_ask_for_it() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        view = (x + 1.0)[1:]
        for _ in range(3):
            x = xp.reshape(xp.exp(x), (2, 2)) - 0.5
            x = xp.reshape(x, (4,))
        return state, {"view": view * 1.0, "x": x}

    assert_the_same(*both_ways(step, (), (np.random.default_rng(0).normal(size=(4, 4)),)))


def changed_in_place(change: Any) -> Any:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        change(state[0], batch[0])
        return state, {"m": state[0] * 1.0}

    return step


def read(value: Any) -> Any:
    return lambda xp, state, batch: (state, {"m": value(state[0], batch[0])})


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


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "default:this step runs operation by operation")
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


def test_another_state_is_begun_with_and_its_own_data_used() -> None:
    backend = select("numpy")

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return state, {"m": batch[0] * state["rate"]}

    for rate in (2.0, 3.0):
        _, metrics = backend.run(step, {"rate": np.asarray(rate)}, (np.ones((2, 1)),))
        np.testing.assert_array_equal(metrics["m"], rate)


def test_data_are_let_go_of_when_training_ends() -> None:
    model = Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1))
    x = np.zeros((50, 3), np.float32)
    gone = weakref.ref(x)
    model.fit(x, np.zeros((50, 2)))
    del x
    gc.collect()
    assert gone() is None


def test_memory_is_kept_for_a_few_shapes_only() -> None:
    model = Model(nn.Linear(2), nn.MSELoss(), nn.SGD(0.1)).build((3,))
    for rows in range(1, 30):
        for _ in range(2):
            model.predict(np.zeros((rows, 3)))
    assert len(model.backend._known) <= 8  # type: ignore[attr-defined]


def test_threads_that_predict_with_one_model_do_not_disturb_each_other() -> None:
    model = Model(nn.Sequential(nn.Linear(50), nn.Tanh(), nn.Linear(2)), nn.MSELoss(), nn.SGD(0.1)).build((3,))
    inputs = [np.full((100, 3), float(i)) for i in range(8)]
    expected = [model.predict(x) for x in inputs]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            for one, other in zip(expected, threads.map(model.predict, inputs), strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_product_of_no_numbers_is_added_too() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        return state, {"m": x + xp.matmul(x[:, :0], x[:0]), "n": x[:0] + xp.matmul(x[:0], x), "o": x[-300::-1]}

    assert_the_same(*both_ways(step, (), (np.random.default_rng(0).normal(size=(2, 200, 200)),)))


def test_without_a_library_to_call_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        return (state[0] * 0.5 - xp.matmul(batch[0], batch[0]) * 0.1,), {"m": batch[0][0, 0]}

    x = np.random.default_rng(0).normal(size=(3, 200, 200))
    with_library, _ = select("numpy", "float64").run(step, (np.ones((200, 200)),), (x,))
    monkeypatch.setattr(cblas, "_routine", lambda name, dtype: None)
    without, _ = select("numpy", "float64").run(step, (np.ones((200, 200)),), (x,))
    assert_the_same(with_library, without)


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


def test_rows_that_are_not_there_are_an_error_whenever_they_come() -> None:
    backend = select("numpy")
    step = read(lambda s, x: x * s)
    data = np.arange(5.0)[:, None]
    for rows, expected in (([0, 4], [0, 4]), ([-1, 1], [4, 1])):
        _, metrics = backend.run(step, (np.ones(1),), (np.asarray([rows]),), (data,))
        assert metrics["m"][0, :, 0].tolist() == expected
    with pytest.raises(IndexError):
        backend.run(step, (np.ones(1),), (np.asarray([[0, 5]]),), (data,))


def test_a_state_of_another_structure_is_another_state() -> None:
    backend = select("numpy")

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return state, {"m": xp.sum(batch[0]) * len(state)}

    x, y = np.ones(1), np.zeros(1)
    for state, expected in (((x, y), 6), (((x, y),), 3)):
        assert backend.run(step, state, (np.ones((1, 3)),))[1]["m"] == expected


def test_a_state_may_come_back_in_another_order() -> None:
    backend = select("numpy")

    def step(xp: Any, state: Any, batch: Any) -> Any:
        return (state[0] * 2 + batch[0], state[1] * 3), {"m": batch[0]}

    state = np.asarray([1.0]), np.asarray([10.0])
    state, _ = backend.run(step, state, (np.zeros((1, 1)),))
    state, _ = backend.run(step, state[::-1], (np.zeros((1, 1)),))
    assert [float(x[0]) for x in state] == [60, 6]
    (x, _) = state
    state, _ = backend.run(step, (x, x), (np.zeros((1, 1)),))
    assert [float(x[0]) for x in state] == [120, 180]
