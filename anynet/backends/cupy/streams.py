"""Streams of one's own, beside those of whoever else computes on the device."""

from __future__ import annotations

from typing import Any
from weakref import finalize

_idle: dict[Any, list[Any]] = {}


def stream_of(owner: Any) -> Any:
    """A stream on the current device that nobody else is given until its owner goes.

    Then another of its kind is given it, since CuPy keeps what is freed for the stream that it was taken on.
    """
    import cupy

    idle = _idle.setdefault((cupy.cuda.Device().id, type(owner)), [])
    try:
        stream = idle.pop()
    except IndexError:
        stream = cupy.cuda.Stream(non_blocking=True)
    finalize(owner, idle.append, stream).atexit = False
    return stream


class InTurn:
    """The time in which a stream is the current one: after what the other had to do, and before what it does next."""

    def __init__(self, stream: Any, other: Any) -> None:
        self.stream = stream
        self.other = other

    def __enter__(self) -> None:
        self.stream.wait_event(self.other.record())
        self.stream.__enter__()

    def __exit__(self, *reason: object) -> None:
        self.stream.__exit__(*reason)
        self.other.wait_event(self.stream.record())
