"""Running the lanes of a step, which do not depend on each other, on threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

Calls: TypeAlias = Sequence[Callable[[], Any]]


@contextmanager
def side_by_side(most: int) -> Iterator[Callable[[Sequence[Calls]], None]]:
    """A function that runs up to so many lists of calls, the first in this thread, and returns when all have run.

    >>> seen = []
    >>> with side_by_side(2) as run:
    ...     run([[lambda: seen.append(1)], [lambda: seen.append(2)]])
    >>> sorted(seen)
    [1, 2]
    """
    if most < 2:
        yield lambda lanes: _run(*lanes)
        return

    def run(lanes: Sequence[Calls]) -> None:
        others = [pool.submit(_run_quietly, calls) for calls in lanes[1:]]
        _run(lanes[0])
        for other in others:
            other.result()

    # The threads end with the run, so that a fork meanwhile leaves none of them behind.
    with ThreadPoolExecutor(most - 1, "anynet-numpy") as pool:
        yield run


def _run(calls: Calls) -> None:
    for call in calls:
        call()


def _run_quietly(calls: Calls) -> None:
    # A thread does not inherit this setting from the one that started it.
    with np.errstate(all="ignore"):
        _run(calls)
