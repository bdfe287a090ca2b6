"""A Ctrl-C at a moment when Python drops what is raised."""

from __future__ import annotations

import signal
import sys
import time

import pytest

from anynet.cli.interrupts import repeated_interrupts

pytestmark = pytest.mark.host


class DropsAnInterrupt:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_python_drops_comes_again() -> None:
    usual = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), repeated_interrupts():  # noqa: PT012
        DropsAnInterrupt()
        time.sleep(10)
    assert sys.unraisablehook is usual


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_exceptions_that_python_drops_are_told_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda dropped: told.append(dropped.exc_type))

    class Fails:
        def __del__(self) -> None:
            raise ValueError

    with repeated_interrupts():
        Fails()
    assert told == [ValueError]
