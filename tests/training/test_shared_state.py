"""A state that one thread changes and others read: who gets which arrays, and who is refused."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training.one_layer import ARRAYS, LAYOUT

from anynet.errors import UsageError
from anynet.nn import Adam
from anynet.tracing.trees import leaves
from anynet.training.state import SharedState, State, state_of

pytestmark = pytest.mark.host


@pytest.fixture
def shared(backend: Any) -> SharedState:
    return SharedState(backend, state_of(backend, LAYOUT, Adam(0.25), ARRAYS))


def added(number: float) -> Callable[[State], tuple[State, str]]:
    """A step in place, as NumPy's are."""

    def step(state: State) -> tuple[State, str]:
        for array in state.parameters:
            np.add(array, number, out=array)
        return state, "done"

    return step


def in_another_thread(function: Callable[[], Any]) -> Any:
    answers: list[Any] = []

    def run() -> None:
        try:
            answers.append(function())
        except UsageError as error:
            answers.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    return answers[0]


def until(met: Callable[[], bool]) -> None:
    latest = time.monotonic() + 10
    while not met():
        assert time.monotonic() < latest
        time.sleep(0.001)


def first_number(state: State) -> float:
    return float(state.parameters[0][0])


def test_outside_training_everybody_reads_the_state_itself_and_may_replace_it(shared: SharedState) -> None:
    state = shared.read()
    assert state is shared.state
    assert in_another_thread(shared.read) is state
    other = state._replace(step=np.asarray(5, np.int32))
    shared.replace(lambda before: other if before is state else before)
    assert shared.read() is other
    in_another_thread(lambda: shared.replace(lambda before: state))
    assert shared.read() is state


def test_arrays_that_were_read_are_never_changed_by_a_training(shared: SharedState) -> None:
    before = shared.read()
    numbers = [array.copy() for array in leaves(before)]
    with shared.training():
        assert shared.change(added(1.0)) == "done"
        during = in_another_thread(shared.read)
        shared.change(added(1.0))
        assert first_number(during) == 1
        assert first_number(shared.read()) == 2
    after = shared.read()
    assert first_number(after) == 2
    with shared.training():
        shared.change(added(1.0))
    assert [first_number(state) for state in (during, after, shared.read())] == [1, 2, 3]
    for array, expected in zip(leaves(before), numbers, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_a_reader_in_the_middle_of_a_step_waits_for_its_end(shared: SharedState) -> None:
    asked, answers = threading.Event(), []

    def read() -> None:
        asked.set()
        answers.append(shared.read())

    readers = [threading.Thread(target=read) for _ in range(2)]

    def step(state: State) -> tuple[State, None]:
        for reader in readers:
            reader.start()
        asked.wait(10)
        until(lambda: len(shared._waiting) == 2)
        assert not answers
        return added(1.0)(state)[0], None

    with shared.training():
        shared.change(step)
        for reader in readers:
            reader.join(10)
        shared.change(added(1.0))
    assert [first_number(state) for state in answers] == [1, 1]


def test_a_reader_who_waits_for_a_step_that_fails_gets_what_there_is(shared: SharedState) -> None:
    reader = threading.Thread(target=lambda: answers.append(shared.read()))
    answers: list[State] = []

    def step(state: State) -> Any:
        reader.start()
        until(lambda: bool(shared._waiting))
        raise ZeroDivisionError

    with shared.training():
        with pytest.raises(ZeroDivisionError):
            shared.change(step)
        reader.join(10)
        # The next step begins as if this one had never been.
        shared.change(added(1.0))
    assert [first_number(state) for state in (*answers, shared.read())] == [0, 1]


def test_a_reader_hears_of_an_error_while_its_copy_is_made(
    shared: SharedState, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Exception] = []

    def read() -> None:
        try:
            shared.read()
        except MemoryError as error:
            heard.append(error)

    reader = threading.Thread(target=read)

    def step(state: State) -> tuple[State, None]:
        reader.start()
        until(lambda: bool(shared._waiting))
        return state, None

    def refuse() -> State:
        raise MemoryError("too large")

    with shared.training(), monkeypatch.context() as patched:
        patched.setattr(shared, "_copied", refuse)
        shared.change(step)
        reader.join(10)
        patched.undo()
    assert [str(error) for error in heard] == ["too large"]
    assert shared._waiting == []


def test_who_trains_cannot_read_or_replace_the_state_in_the_middle_of_a_step(shared: SharedState) -> None:
    def reading(state: State) -> Any:
        shared.read()

    def replacing(state: State) -> Any:
        shared.replace(lambda before: before)

    with shared.training():
        with pytest.raises(UsageError, match=r"^the state cannot be read in the middle of a training step$"):
            shared.change(reading)
        with pytest.raises(UsageError, match=r"^the model is being trained in another thread, which would overwrite"):
            shared.change(replacing)
        assert first_number(shared.read()) == 0


def test_between_two_steps_who_trains_may_replace_the_state_and_nobody_else(shared: SharedState) -> None:
    with shared.training():
        shared.change(added(1.0))
        shared.replace(lambda state: state._replace(step=np.asarray(9, np.int32)))
        words = in_another_thread(lambda: shared.replace(lambda state: state))
        assert words == (
            "the model is being trained in another thread, which would overwrite this: wait for its end, or do it in a "
            "callback of that training"
        )
    assert (first_number(shared.read()), int(shared.read().step)) == (1, 9)


def test_there_is_one_training_at_a_time(shared: SharedState) -> None:
    assert not shared.in_training

    def train() -> None:
        with shared.training():
            pass

    with shared.training():
        assert shared.in_training
        words = "the model is being trained already, {}; train a copy: copy.deepcopy(model)"
        assert in_another_thread(train) == words.format("in another thread")
        with pytest.raises(UsageError) as refused:
            train()
        assert str(refused.value) == words.format("and a callback of it cannot train it too")
    assert not shared.in_training
    assert in_another_thread(train) is None


def test_a_training_that_fails_is_over(shared: SharedState) -> None:
    def fail() -> None:
        with shared.training():
            shared.change(added(1.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not shared.in_training
    assert first_number(shared.read()) == 1


def test_a_forked_process_is_told_that_a_step_was_cut_in_two(shared: SharedState) -> None:
    half = "forked while another thread was in the middle of a training step"

    def step(state: State) -> tuple[State, None]:
        # As in a child whose parent was here, in a thread that the child does not have.
        trainer, lock, waiting = shared._trainer, shared._lock, shared._waiting
        shared._trainer = threading.Thread()
        shared.reset_after_fork()
        assert not shared.in_training
        assert shared._lock is not lock
        for attempt in (shared.read, lambda: shared.replace(lambda state: state), shared.training().__enter__):
            with pytest.raises(UsageError, match=half):
                attempt()
        shared._trainer, shared._lock, shared._waiting = trainer, lock, waiting
        return state, None

    with shared.training():
        shared.change(step)
        # A child that is forked in a callback goes on as the trainer that it is.
        shared.reset_after_fork()
        assert shared.in_training
        assert first_number(shared.read()) == 0


def test_copies_are_made_only_for_those_who_ask(shared: SharedState, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[State] = []
    copied = shared._copied

    def counted() -> State:
        made.append(copied())
        return made[-1]

    monkeypatch.setattr(shared, "_copied", counted)
    with shared.training():
        assert len(made) == 1
        shared.change(added(1.0))
        assert shared.read() is shared.state
        assert len(made) == 1
        in_another_thread(shared.read)
        assert len(made) == 2
    assert shared.read() is made[2]
    assert len(made) == 3


@pytest.mark.parametrize("interruptible", [True, False])
def test_an_interrupt_waits_for_the_end_of_a_step_whose_old_state_is_gone(
    shared: SharedState, monkeypatch: pytest.MonkeyPatch, interruptible: bool
) -> None:
    monkeypatch.setattr(type(shared._backend), "interruptible", interruptible)
    ended: list[bool] = []

    def step(state: State) -> tuple[State, None]:
        os.kill(os.getpid(), signal.SIGINT)
        ended.append(True)
        return added(1.0)(state)[0], None

    with shared.training():
        with pytest.raises(KeyboardInterrupt):
            shared.change(step)
        assert ended == ([] if interruptible else [True])
        assert first_number(shared.read()) == (0 if interruptible else 1)
