"""The library behind NumPy's matrix products."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from anynet.backends import blas, select


def threads() -> set[int]:
    return {info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"}


def test_one_thread_is_used_until_the_last_who_asked_is_done() -> None:
    before = threads()
    outer, inner = blas.one_thread(), blas.one_thread()
    with outer:
        with inner:
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == before


def test_the_number_of_threads_comes_back_however_many_train_at_once_and_fail() -> None:
    before = threads()

    def train(i: int) -> None:
        with blas.one_thread():
            if i % 2:
                raise ArithmeticError

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(train, i) for i in range(64)]:
            done.exception()
    assert threads() == before


def test_a_step_is_followed_by_one_thread_whoever_multiplies_beside_it() -> None:
    seen = []

    def step(xp: Any, state: Any, batch: Any) -> Any:
        seen.append(threads())
        return state, {"sum": state + batch[0]}

    with threadpoolctl.threadpool_limits(2, "blas"):
        select("numpy").run(step, np.float32([0]), (np.ones((2, 1), np.float32),))
    assert seen
    assert all(found == {1} for found in seen)


@pytest.mark.parametrize(
    ("flags", "architecture", "words"),
    [
        ({"avx512f", "avx512_bf16"}, "Haswell", "OPENBLAS_CORETYPE=Cooperlake"),
        ({"avx512f"}, "Zen", "OPENBLAS_CORETYPE=SkylakeX"),
        ({"avx512f"}, "SkylakeX", ""),
        ({"avx2"}, "Haswell", ""),
    ],
)
def test_a_processor_taken_for_an_older_one_is_told(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], architecture: str, words: str
) -> None:
    library = SimpleNamespace(internal_api="openblas", architecture=architecture)
    monkeypatch.setattr(blas, "_libraries", lambda: [library])
    monkeypatch.setattr(blas, "_processor_flags", lambda: flags)
    assert words in blas.advice()
    assert bool(blas.advice()) == bool(words)
