"""Delays SIGINT and SIGTERM until the current batches are done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def deferred() -> Iterator[list[int]]:
    """A context that puts SIGINT and SIGTERM into a list, if they still have Python's default handlers.

    Raises
    ------
    KeyboardInterrupt
        At the second signal, at once.
    """
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    ours = [number for number, usual in _USUAL.items() if signal.getsignal(number) == usual]
    with _handled(dict.fromkeys(ours, note)):
        yield came


@contextmanager
def blocked() -> Iterator[None]:
    """A context that delays SIGINT and SIGTERM: their handlers are called when it ends."""
    came: list[tuple[int, Any]] = []
    handlers: dict[int, Any] = {n: handler for n in _USUAL if callable(handler := signal.getsignal(n))}
    try:
        with _handled(dict.fromkeys(handlers, lambda number, frame: came.append((number, frame)))):
            yield
    finally:
        for number, frame in came:
            handlers[number](number, frame)


@contextmanager
def _handled(handlers: dict[int, Any]) -> Iterator[None]:
    """A context with these signal handlers; it does nothing outside the main thread, where Python forbids it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
