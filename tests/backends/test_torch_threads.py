"""Small steps on PyTorch use one thread, and nothing else in the process notices."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from anynet.backends import select
from anynet.backends.torch import FEW_MULTIPLICATIONS

pytestmark = pytest.mark.needs("torch")
SMALL, LARGE = 8, FEW_MULTIPLICATIONS


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    torch = importlib.import_module("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_here() -> int:
    return int(importlib.import_module("torch").get_num_threads())


def threads_of_a_step(numbers: int, look: Any = None) -> list[int]:
    """How many threads PyTorch has in each of two steps on a state of so many numbers."""
    seen: list[int] = []

    def step(xp: Any, state: Any, batch: Any) -> Any:
        seen.append((look or threads_here)())
        return state, {"sum": batch[0]}

    # Broadcast, so that a large state takes no memory.
    backend = select("torch")
    backend.run(step, (backend.xp.zeros(1).expand(numbers),), (backend.asarray(np.ones(2)),))
    return seen


def test_a_small_step_uses_one_thread_and_a_large_one_what_there_is() -> None:
    assert threads_of_a_step(SMALL) == [1, 1]
    assert threads_of_a_step(LARGE) == [2, 2]
    assert threads_here() == 2


def test_a_step_that_fails_leaves_the_threads_as_they_were() -> None:
    def fail() -> int:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        threads_of_a_step(SMALL, fail)
    assert threads_here() == 2


def test_other_threads_keep_theirs_whether_they_are_older_or_newer_than_the_step() -> None:
    with ThreadPoolExecutor(1) as older:
        older.submit(threads_here).result()

        def elsewhere() -> int:
            with ThreadPoolExecutor(1) as newer:
                return min(pool.submit(threads_here).result() for pool in (older, newer))

        assert threads_of_a_step(SMALL, elsewhere) == [2, 2]
        assert older.submit(threads_here).result() == 2


def test_steps_at_once_in_several_threads_leave_each_with_what_it_had() -> None:
    def work(_: int) -> tuple[int, ...]:
        importlib.import_module("torch").set_num_threads(2)
        return (*threads_of_a_step(SMALL), threads_here())

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(work, range(40))) == {(1, 1, 2)}
