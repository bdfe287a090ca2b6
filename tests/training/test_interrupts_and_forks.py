"""A training that is interrupted in the middle of a step, and a process that is forked there."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet import Model, nn
from anynet.backends import select
from anynet.errors import UsageError
from anynet.training import Callback, signals

ROWS = 64
X = np.random.default_rng(0).normal(size=(ROWS, 4))
Y = (X[:, 0] > 0).astype(np.int32)


def new_model(backend: Any = BACKEND) -> Model:
    return Model(nn.Linear(2), nn.CrossEntropyLoss(), nn.Adam(0.01), backend=backend)


def interrupted(run: Callable[..., Any], times: int) -> Callable[..., Any]:
    """`run`, with so many interrupts between its end and that of its caller's line."""

    def running(*arguments: Any, **options: Any) -> Any:
        result = run(*arguments, **options)
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGINT)
        return result

    return running


class TestInterrupts:
    @pytest.mark.parametrize("times", [1, 2])
    def test_leave_a_model_that_can_be_used(
        self, backend_name: str, times: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = new_model(backend_name).build((4,))
        before = model.parameters
        with monkeypatch.context() as patched:
            patched.setattr(model.backend, "run", interrupted(model.backend.run, times))
            with pytest.raises(KeyboardInterrupt):
                model.fit(X, Y)
        assert all(np.abs(array - before[name]).max() < 1 for name, array in model.parameters.items())
        assert np.isfinite(model.fit(X, Y, epochs=2)[-1]["loss"])

    @pytest.mark.parametrize("solver", ["adam", "lbfgs"])
    def test_leave_an_estimator_that_is_fitted(
        self, backend_name: str, solver: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from anynet.estimators import MLPClassifier

        estimator = MLPClassifier((), solver=solver, max_iter=3, backend=backend_name)
        with warnings.catch_warnings(action="ignore"):
            estimator.fit(X, Y)
        backend = type(estimator._model.backend)
        with monkeypatch.context() as patched:
            patched.setattr(backend, "run", interrupted_once(backend.run))
            with pytest.warns(UserWarning, match="interrupted by user"):
                estimator.fit(X, Y)
        assert estimator.predict(X).shape == (ROWS,)

    def test_come_after_what_must_not_be_cut_in_two(self) -> None:
        assigned = []

        def assign() -> None:
            with signals.blocked():
                os.kill(os.getpid(), signal.SIGINT)
                assigned.append(True)

        with pytest.raises(KeyboardInterrupt):
            assign()
        assert assigned


def interrupted_once(run: Callable[..., Any]) -> Callable[..., Any]:
    left = [1]

    def running(*arguments: Any, **options: Any) -> Any:
        return interrupted(run, left.pop() if left else 0)(*arguments, **options)

    return running


class Waiting(Callback):
    """Stays between two stretches of batches until it is let go."""

    def __init__(self) -> None:
        self.there, self.go_on = threading.Event(), threading.Event()

    def on_batches_end(self, model: Model, samples: int) -> None:
        self.there.set()
        self.go_on.wait()


def answer_of_a_child(function: Callable[[], Any]) -> Any:
    """What a function gives in a forked process, or the words of its UsageError."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def answer() -> None:
        try:
            there.send(function())
        except UsageError as error:
            there.send(str(error))

    child = context.Process(target=answer)
    # Python 3.12 and JAX warn of forking beside threads, which is what this is about.
    with warnings.catch_warnings(action="ignore"):
        child.start()
    try:
        return here.recv() if here.poll(30) else "no answer"
    finally:
        child.kill()
        child.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestForks:
    def test_between_two_stretches_of_batches_a_child_has_the_weights(self) -> None:
        model, waiting = new_model().build((4,)), Waiting()
        training = threading.Thread(target=model.fit, args=(X, Y), kwargs={"callbacks": [waiting]})
        training.start()
        waiting.there.wait()
        child = answer_of_a_child(lambda: (model.predict(X), model.fit(X, Y)[0]["loss"]))
        waiting.go_on.set()
        training.join()
        assert child[0].tobytes() == model.predict(X).tobytes()
        assert np.isfinite(child[1])

    def test_in_the_middle_of_a_step_a_child_is_told_that_the_weights_are_half_changed(self) -> None:
        model, there, go_on = new_model().build((4,)), threading.Event(), threading.Event()
        run = model.backend.run

        def wait(*arguments: Any, **options: Any) -> Any:
            there.set()
            go_on.wait()
            return run(*arguments, **options)

        model.backend.run = wait  # type: ignore[method-assign]
        training = threading.Thread(target=model.fit, args=(X, Y))
        training.start()
        there.wait()
        answers = [answer_of_a_child(read) for read in (lambda: model.predict(X), lambda: model.fit(X, Y))]
        go_on.set()
        training.join()
        assert all("forked while another thread was in the middle of a training step" in words for words in answers)

    def test_in_a_callback_a_child_may_read(self) -> None:
        children = []

        class Forking(Callback):
            def on_batches_end(self, model: Model, samples: int) -> None:
                children.append(answer_of_a_child(lambda: model.predict(X).tobytes()))

        model = new_model()
        model.fit(X, Y, callbacks=[Forking()])
        assert children == [model.predict(X).tobytes()]


class TestAssigning:
    def test_no_training_begins_while_an_optimizer_is_being_assigned(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model = new_model().build((4,))
        make_steps = model._make_steps
        training = threading.Thread(target=model.fit, args=(X, Y))
        begun: list[bool] = []

        def slowly() -> None:
            training.start()
            training.join(timeout=0.2)
            begun.append(model._shared.in_training or not training.is_alive())
            make_steps()

        monkeypatch.setattr(model, "_make_steps", slowly)
        model.optimizer = nn.SGD(0.1)
        training.join()
        assert begun == [False]
        assert int(model.state.step) == 2

    @pytest.mark.needs("jax")
    def test_what_jax_has_compiled_for_an_optimizer_goes_with_it(self) -> None:
        backend: Any = select("jax")
        model = new_model(backend)
        model.fit(X, Y)
        model.predict(X)
        gc.collect()
        compiled = len(backend._scans)
        for rate in (0.1, 0.2, 0.3):
            model.optimizer = nn.SGD(rate)
            model.fit(X, Y)
            model.predict(X)
        gc.collect()
        assert len(backend._scans) == compiled
