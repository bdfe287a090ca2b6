"""The library behind NumPy's matrix products."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from anynet.backends import select
from anynet.backends.numpy import blas
from anynet.backends.numpy.step import CompiledStep

pytestmark = pytest.mark.host


def threads_here() -> set[int]:
    return {info["num_threads"] for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"}


def test_one_thread_is_used_until_the_last_who_asked_is_done() -> None:
    before = threads_here()
    with ThreadPoolExecutor(1) as pool, blas.threads(one=True):
        assert threads_here() == {1}
        with blas.threads(one=False):
            assert threads_here() == {1}
        with pool.submit(lambda: blas.threads(one=True)).result():
            assert threads_here() == {1}
        assert threads_here() == {1}
    assert threads_here() == before


def test_the_number_of_threads_comes_back_however_many_train_at_once_and_fail() -> None:
    before = threads_here()

    def train(i: int) -> None:
        with blas.threads(one=i % 3 > 0):
            if i % 2:
                raise ArithmeticError

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(train, i) for i in range(64)]:
            done.exception()
    assert threads_here() == before
    assert not blas._turns.inside


def test_whoever_computes_with_one_thread_and_with_all_take_turns() -> None:
    log: list[bool] = []

    def train(one: bool) -> None:
        for _ in range(20):
            with blas.threads(one=one):
                log.append(one)
                time.sleep(0.001)
                assert set(blas._turns.inside.values()) == {one}

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(train, i % 2 == 0) for i in range(4)]:
            done.result(timeout=60)
    # Nobody waits until the others are through with everything.
    assert {*log[:20]} == {True, False}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
# Python 3.12 and JAX warn of forking beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore")
def test_a_child_waits_for_no_thread_that_it_does_not_have() -> None:
    with threadpoolctl.threadpool_limits(2, "blas"), ThreadPoolExecutor(1) as pool:
        inside, done = threading.Event(), threading.Event()

        def hold() -> None:
            with blas.threads(one=True):
                inside.set()
                done.wait(60)

        held = pool.submit(hold)
        inside.wait(60)
        child = os.fork()
        if not child:
            with blas.threads(one=False):
                os._exit(threads_here() != {2})
        done.set()
        held.result()
        assert os.waitpid(child, 0)[1] == 0


def test_a_step_is_followed_by_one_thread_whoever_multiplies_beside_it() -> None:
    seen = []

    def step(xp: Any, state: Any, batch: Any) -> Any:
        seen.append(threads_here())
        return state, {"sum": state + batch[0]}

    with threadpoolctl.threadpool_limits(2, "blas"):
        select("numpy").run(step, np.float32([0]), (np.ones((2, 1), np.float32),))
    assert seen
    assert all(found == {1} for found in seen)


@pytest.mark.parametrize(("width", "expected"), [(100, 1), (3000, 2)])
def test_a_small_step_is_computed_by_one_thread_and_a_large_one_by_all(
    monkeypatch: pytest.MonkeyPatch, width: int, expected: int
) -> None:
    seen = []
    run = CompiledStep.run
    monkeypatch.setattr(CompiledStep, "run", lambda *given: seen.append(threads_here()) or run(*given))
    with threadpoolctl.threadpool_limits(2, "blas"):
        x = np.ones((2, 3, width), np.float32)
        weights = np.ones((width, width), np.float32)
        select("numpy").run(lambda xp, s, b: (s, {"y": xp.matmul(b[0], s)}), weights, (x,))
    assert seen[-1] == {expected}


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
