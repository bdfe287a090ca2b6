"""What is played back is what the step would have computed, to the last bit."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from anynet import nn
from anynet.backends import select
from anynet.backends.base import Backend
from anynet.backends.blas import threads
from anynet.backends.replay import Replay
from anynet.tracing.trees import leaves, rebuilt
from anynet.training import Model, cases

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
    assert any(isinstance(replay, Replay) for replay in backend._replays.values())
    return expected, actual


def assert_same_bytes(expected: Any, actual: Any) -> None:
    for one, other in zip(leaves(expected), leaves(actual), strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def model_and_batches(layer: Any, shape: Any, loss: Any = None, optimizer: Any = None, batch: int = BATCH) -> Any:
    loss = loss or nn.MSELoss()
    model = Model(layer, loss, optimizer or nn.SGD(0.1), dtype="float64").build(shape)
    generator = np.random.default_rng(1)
    x = generator.uniform(0.1, 0.9, (STEPS, batch, *shape))
    target = np.stack([cases.draw_target(generator, loss, (batch, *model.layout.out_shape)) for _ in range(STEPS)])
    return model, (x, target, np.full((STEPS, batch), 1 / batch))


@pytest.mark.parametrize("batch", [1, BATCH, 200])
@pytest.mark.parametrize("case", cases.LAYERS, ids=lambda case: case.name)
def test_training_any_layer_is_played_back_to_the_last_bit(case: Any, batch: int) -> None:
    network = nn.Sequential(nn.Linear(case.shape[-1]), case.layer, nn.Linear(2))
    model, batches = model_and_batches(network, case.shape, batch=batch)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


@pytest.mark.parametrize("case", cases.LOSSES, ids=lambda case: case.name)
def test_training_with_any_loss_is_played_back_to_the_last_bit(case: Any) -> None:
    layers = [nn.Linear(case.shape[-1]), *([nn.Sigmoid()] if isinstance(case.loss, nn.BCELoss) else [])]
    model, batches = model_and_batches(nn.Sequential(*layers), (3,), case.loss)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


@pytest.mark.parametrize("case", cases.OPTIMIZERS, ids=lambda case: case.name)
def test_training_with_any_optimizer_is_played_back_to_the_last_bit(case: Any) -> None:
    network = nn.Sequential(nn.Linear(20), nn.ReLU(), nn.Linear(3))
    model, batches = model_and_batches(network, (5,), optimizer=case.optimizer)
    assert_same_bytes(*both_ways(model._train, model.state, batches))


def test_measuring_and_predicting_are_played_back_too() -> None:
    model, batches = model_and_batches(nn.Linear(3), (5,), nn.CrossEntropyLoss())
    assert_same_bytes(*both_ways(model._evaluate, model.state, batches))
    assert_same_bytes(*both_ways(model._predict, model.state, batches[:1]))


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


def test_an_array_that_the_step_changes_later_is_noted_as_it_was() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        constant = np.ones(2)
        first = batch[0] * constant
        constant *= 2
        return state, {"sum": first + batch[0] * constant}

    expected, actual = both_ways(step, (), (np.ones((3, 2)),))
    assert_same_bytes(expected, actual)
    np.testing.assert_array_equal(actual[1]["sum"][2], [3, 3])


def test_room_is_given_again_only_when_nothing_can_ask_for_it() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (x,) = batch
        view = (x + 1.0)[1:]
        for _ in range(3):
            x = np.reshape(np.exp(x), (2, 2)) - 0.5
            x = np.reshape(x, (4,))
        return state, {"view": view * 1.0, "x": x}

    assert_same_bytes(*both_ways(step, (), (np.random.default_rng(0).normal(size=(4, 4)),)))


def changed_in_place(change: Any) -> Any:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        (s,) = state
        change(s, batch[0])
        return (s,), {"m": np.sum(s) * 1.0}

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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", UNUSUAL)
def test_whatever_a_step_does_comes_out_as_in_the_plain_loop(name: str) -> None:
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
            assert_same_bytes(expected, actual)


def outcome(run: Any, *arguments: Any) -> Any:
    try:
        return run(*arguments)
    except Exception as error:
        return type(error)


def test_a_state_of_names_keeps_each_under_its_own() -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        return {"b": state["b"] + batch[0], "a": state["a"] * 2.0}, {"m": state["a"] * 1.0}

    expected, actual = (
        run(step, {"a": np.ones(2), "b": np.zeros(2)}, (np.ones((3, 2)),))
        for run in (lambda *a: Backend.run(select("numpy"), *a), select("numpy").run)
    )
    for name in "ab":
        np.testing.assert_array_equal(expected[0][name], actual[0][name])


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
    assert len(model.backend._replays) <= 8  # type: ignore[attr-defined]


def test_threads_that_predict_with_one_model_do_not_disturb_each_other() -> None:
    model = Model(nn.Sequential(nn.Linear(50), nn.Tanh(), nn.Linear(2)), nn.MSELoss(), nn.SGD(0.1)).build((3,))
    inputs = [np.full((100, 3), float(i)) for i in range(8)]
    expected = [model.predict(x) for x in inputs]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(20):
            for one, other in zip(expected, threads.map(model.predict, inputs), strict=True):
                np.testing.assert_array_equal(one, other)
