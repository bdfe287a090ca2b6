"""Keeps a Ctrl-C that Python drops."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SECONDS_TO_RETURN = 0.01


@contextmanager
def repeated_interrupts() -> Iterator[None]:
    """A context in which a KeyboardInterrupt that nobody can catch comes again, a moment later.

    Python prints and forgets what is raised in a callback of its own, such as the one at the end of each import.
    """
    usual, main = sys.unraisablehook, threading.main_thread().ident

    def hook(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, KeyboardInterrupt):
            threading.Timer(SECONDS_TO_RETURN, signal.pthread_kill, [main, signal.SIGINT]).start()
        else:
            usual(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual
