"""A loop over the steps of sequences, which a backend may compile as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def scan(
    xp: Any, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, xs: Sequence[Any], reverse: bool = False
) -> tuple[Any, tuple[list[Any], ...]]:
    """Call ``step(state, parts) -> (state, results)`` for each time, the first axis of each of `xs`.

    Returns the last state, and each result of all times: here as a list, which can be one of another loop's `xs`.

    >>> import numpy as np
    >>> last, (before,) = scan(np, lambda total, x: (total + x[0], (total,)), 0, (np.asarray([3, 4, 5]),))
    >>> int(last), list(map(int, before))
    (12, [0, 3, 7])
    """
    times = range(len(xs[0]) if isinstance(xs[0], list) else xs[0].shape[0])
    found = []
    for t in reversed(times) if reverse else times:
        state, results = step(state, tuple(x[t] if isinstance(x, list) else x[t, ...] for x in xs))
        found.append(results)
    return state, tuple(map(list, zip(*(reversed(found) if reverse else found), strict=True)))
