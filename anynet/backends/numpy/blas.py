"""The BLAS behind NumPy's matrix products: its number of threads, and whether it knows the processor."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Condition, get_ident
from typing import Any

from anynet.distributed import is_rank

# OpenBLAS's names for the processors on which it uses 512-bit instructions.
_KNOWING_512_BITS = ("SkylakeX", "Cooperlake", "Sapphirerapids", "Zen4", "Zen5")


class _Turns:
    """A lock that lets in two groups of threads by turns: those that use one BLAS thread, and those that use all."""

    def __init__(self) -> None:
        self.changed = Condition()
        # For each thread inside, whether it uses one BLAS thread; for both groups, how many threads wait.
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
        """Remove the other threads after a fork: they do not exist in the child, so they would never leave."""
        was_one = any(self.inside.values())
        self.inside = {thread: one for thread, one in self.inside.items() if thread == get_ident()}
        if was_one and not self.inside:
            _set_threads(self.before)
        self.changed, self.waiting = Condition(), Counter()


_turns = _Turns()


@contextmanager
def threads(one: bool) -> Iterator[None]:
    """A context in which matrix products use one BLAS thread, or all of them.

    The number is a setting of the whole process, and it changes how results are rounded. So threads that want one and
    threads that want all wait for each other. A context inside another changes nothing. Nor does one
    in a thread that is a rank: others would wait for it here, and it for them in a sum.
    """
    me = get_ident()
    if me in _turns.inside or is_rank():
        yield
        return
    try:
        _turns.enter(me, one)
        yield
    finally:
        _turns.leave(me)


def usual_threads() -> int:
    """How many threads BLAS uses outside of any context of `threads`, whose other work may use them, too."""
    if is_rank():
        return 1
    with _turns.changed:
        before = _turns.before if any(_turns.inside.values()) else [(x, x.num_threads) for x in _libraries()]
    return max((number for _, number in before), default=1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turns.forget_other_threads)


def _set_threads(numbers: Iterable[tuple[Any, int]]) -> None:
    for library, number in numbers:
        # From 3.6 on, threadpoolctl's public method works only in the thread that called it first.
        getattr(library, "_real_set_num_threads", library.set_num_threads)(number)


def advice() -> str:
    """What to do if OpenBLAS takes the processor for an older one; otherwise empty."""
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
    """OpenBLAS as a ctypes library; None if NumPy uses another BLAS."""
    return next((library.dynlib for library in _libraries() if library.internal_api == "openblas"), None)


@cache
def _libraries() -> list[Any]:
    """The loaded BLAS libraries. NumPy is imported before the first call, so its own is among them."""
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


def _processor_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
