"""CUDA streams of our own, separate from those of other code on the device."""

from __future__ import annotations

from typing import Any
from weakref import finalize

_idle: dict[Any, list[Any]] = {}


def stream_of(owner: Any) -> Any:
    """A stream on the current device that belongs to `owner` alone until the owner is deleted.

    A later owner of the same class gets the stream again, since CuPy reuses memory only on the stream that took it.
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
    """A context in which a stream is current. It first waits for the other stream, which waits for it afterwards."""

    def __init__(self, stream: Any, other: Any) -> None:
        self.stream = stream
        self.other = other

    def __enter__(self) -> None:
        self.stream.wait_event(self.other.record())
        self.stream.__enter__()

    def __exit__(self, *reason: object) -> None:
        self.stream.__exit__(*reason)
        self.other.wait_event(self.stream.record())
