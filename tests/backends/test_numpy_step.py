"""A step compiled to NumPy's calls computes what the step does."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from backends.numpy_steps import assert_the_same, both_ways, read

from anynet import nn
from anynet.backends import select
from anynet.backends.numpy import cblas
from anynet.model import Model

pytestmark = pytest.mark.host


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


@pytest.mark.filterwarnings("ignore:this step cannot be compiled")
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


def test_without_a_library_to_call_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(xp: Any, state: Any, batch: Any) -> Any:
        return (state[0] * 0.5 - xp.matmul(batch[0], batch[0]) * 0.1,), {"m": batch[0][0, 0]}

    x = np.random.default_rng(0).normal(size=(3, 200, 200))
    with_library, _ = select("numpy", "float64").run(step, (np.ones((200, 200)),), (x,))
    monkeypatch.setattr(cblas, "_routine", lambda name, dtype: None)
    without, _ = select("numpy", "float64").run(step, (np.ones((200, 200)),), (x,))
    assert_the_same(with_library, without)


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
