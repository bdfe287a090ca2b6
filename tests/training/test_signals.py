"""Who hears of SIGINT and SIGTERM, and when."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from anynet.training.signals import blocked, deferred

pytestmark = pytest.mark.host
BOTH = [signal.SIGINT, signal.SIGTERM]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in BOTH]


@pytest.fixture(autouse=True)
def the_usual_handlers() -> Iterator[None]:
    before = handlers()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_is_noted_down_and_nothing_else_happens(number: int) -> None:
    usual = handlers()
    with deferred() as came:
        assert came == []
        send(number)
        assert came == [number]
    assert handlers() == usual


@pytest.mark.parametrize("first", BOTH)
@pytest.mark.parametrize("second", BOTH)
def test_the_second_signal_interrupts_at_once(first: int, second: int) -> None:
    usual, came = handlers(), []

    def twice() -> None:
        with deferred() as noticed:
            send(first)
            came.extend(noticed)
            send(second)
            came.append(0)

    with pytest.raises(KeyboardInterrupt):
        twice()
    assert came == [first]
    assert handlers() == usual


@pytest.mark.parametrize("number", BOTH)
def test_a_signal_that_somebody_else_handles_is_left_to_them(number: int) -> None:
    heard: list[int] = []
    mine = lambda number, frame: heard.append(number)  # noqa: E731
    signal.signal(number, mine)
    with deferred() as came:
        assert signal.getsignal(number) is mine
        send(number)
    assert came == []
    assert heard == [number]


def test_signals_that_are_ignored_stay_ignored() -> None:
    for number in BOTH:
        signal.signal(number, signal.SIG_IGN)
    with deferred() as came, blocked():
        assert handlers() == [signal.SIG_IGN] * 2
        for number in BOTH:
            send(number)
    assert came == []
    assert handlers() == [signal.SIG_IGN] * 2


def test_whoever_handles_signals_is_told_of_all_of_them_in_order_when_they_are_no_longer_held() -> None:
    heard: list[Any] = []

    def mine(number: int, frame: Any) -> None:
        heard.append((number, frame is None))

    for number in BOTH:
        signal.signal(number, mine)
    with blocked():
        assert mine not in handlers()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            send(number)
        assert heard == []
    assert heard == [(signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGTERM, False)]
    assert handlers() == [mine, mine]


def test_they_are_told_even_if_what_was_not_to_be_interrupted_fails() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    def fail() -> None:
        with blocked():
            send(signal.SIGTERM)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert heard == [signal.SIGTERM]


def test_in_another_thread_nothing_is_handled_since_python_handles_signals_in_the_main_one() -> None:
    found: list[Any] = []

    def run() -> None:
        with deferred() as came, blocked():
            found.append((came, handlers()))

    usual = handlers()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert found == [([], usual)]
