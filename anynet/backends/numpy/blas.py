"""The library behind NumPy's matrix products: how many threads it uses, and whether it knows the processor."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Condition, get_ident
from typing import Any

# What OpenBLAS calls the processors whose 512-bit instructions it knows.
_KNOWING_512_BITS = ("SkylakeX", "Cooperlake", "Sapphirerapids", "Zen4", "Zen5")


class _Turns:
    """Those who compute with one thread, and those who compute with all, in turn."""

    def __init__(self) -> None:
        self.changed = Condition()
        # Whether each thread that computes now does so with one of the library's, and how many wait to.
        self.inside: dict[int, bool] = {}
        self.waiting: Counter[bool] = Counter()
        self.last = False
        self.before: list[tuple[Any, int]] = []

    def enter(self, me: int, one: bool) -> None:
        with self.changed:
            self.waiting[one] += 1
            try:
                self.changed.wait_for(lambda: self._may_enter(one))
            finally:
                self.waiting[one] -= 1
            if one and not self.inside:
                self.before = [(library, library.num_threads) for library in _libraries()]
                _set_threads((library, 1) for library, number in self.before if number != 1)
            self.inside[me] = self.last = one

    def _may_enter(self, one: bool) -> bool:
        is_asked_for = self.waiting[not one] > 0
        if self.inside:
            return self.last == one and not is_asked_for
        return self.last != one or not is_asked_for

    def leave(self, me: int) -> None:
        with self.changed:
            if self.inside.pop(me, False) and not self.inside:
                _set_threads(pair for pair in self.before if pair[1] != 1)
            self.changed.notify_all()

    def forget_other_threads(self) -> None:
        """In a child of a fork there are none, which would end what they began."""
        was_one = any(self.inside.values())
        self.inside = {thread: one for thread, one in self.inside.items() if thread == get_ident()}
        if was_one and not self.inside:
            _set_threads(self.before)
        self.changed, self.waiting = Condition(), Counter()


_turns = _Turns()


@contextmanager
def threads(one: bool) -> Iterator[None]:
    """The time in which matrix products use one thread, or all.

    The number is the whole process's, and another number rounds otherwise. So those who compute with one wait for those
    who compute with all, and these for them; within it, asking for either changes nothing.
    """
    me = get_ident()
    if me in _turns.inside:
        yield
        return
    try:
        _turns.enter(me, one)
        yield
    finally:
        _turns.leave(me)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turns.forget_other_threads)


def _set_threads(numbers: Iterable[tuple[Any, int]]) -> None:
    for library, number in numbers:
        # threadpoolctl from 3.6 on does nothing in any thread but the one that came first.
        getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


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


def openblas() -> Any:
    """OpenBLAS as ctypes has it; None where NumPy multiplies by another library."""
    return next((library.dynlib for library in _libraries() if library.internal_api == "openblas"), None)


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
