"""The library behind NumPy's matrix products: how many threads it uses, and whether it knows the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

# What OpenBLAS calls the processors whose 512-bit instructions it knows.
_KNOWING_512_BITS = ("SkylakeX", "Cooperlake", "Sapphirerapids", "Zen4", "Zen5")
_lock = Lock()
_inside: list[None] = []
_before: list[int] = []


@contextmanager
def one_thread() -> Iterator[None]:
    """The time in which matrix products use one thread; it ends when all who asked for it are done."""
    with _lock:
        if not _inside:
            _before[:] = [library.num_threads for library in _libraries()]
            _set_threads(1 for _ in _before)
        _inside.append(None)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                _set_threads(iter(_before))


def _set_threads(numbers: Iterator[int]) -> None:
    for library, threads in zip(_libraries(), numbers, strict=True):
        if library.num_threads != threads:
            # threadpoolctl from 3.6 on does nothing in any thread but the one that came first.
            getattr(library, "_real_set_num_threads", library.set_num_threads)(threads)


def advice() -> str:
    """What to do where OpenBLAS takes the processor for an older one; empty where it does not."""
    flags = _processor_flags()
    for library in _libraries():
        taken_for = getattr(library, "architecture", "")
        if library.internal_api == "openblas" and "avx512f" in flags and taken_for not in _KNOWING_512_BITS:
            better = "Cooperlake" if "avx512_bf16" in flags else "SkylakeX"
            return (
                f"OpenBLAS takes this processor for a {taken_for} and does not use its 512-bit instructions; "
                f"set OPENBLAS_CORETYPE={better} in the environment for faster matrix products"
            )
    return ""


@cache
def _libraries() -> list[Any]:
    """Those that are loaded; NumPy's own is, by the time that anything is asked for here."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
