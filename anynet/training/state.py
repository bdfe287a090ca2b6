"""The state of a network: everything that training changes, with thread-safe access to it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from anynet.backends import Backend
from anynet.backends.base import Array
from anynet.errors import UsageError, shown
from anynet.nn import Layout, Optimizer
from anynet.nn.layout import Blocks
from anynet.tracing.trees import leaves, rebuilt
from anynet.training import signals

T = TypeVar("T")


class State(NamedTuple):
    """Everything that changes while a network trains.

    Attributes
    ----------
    parameters, buffers : tuples of blocks
    slots : tuple of dict
        The optimizer state of each block or, if the optimizer is not elementwise, of each parameter.
    learning_rate : 0-d array
        Not used if the optimizer has a schedule.
    step : 0-d array of int
        The number of training steps so far.
    """

    parameters: tuple[Array, ...]
    buffers: tuple[Array, ...]
    slots: tuple[dict[str, Array], ...]
    learning_rate: Array
    step: Array


def state_of(backend: Backend, layout: Layout, optimizer: Optimizer, arrays: Mapping[str, Any], step: int = 0) -> State:
    """A state with these parameters and buffers, given by name, and a new optimizer state."""
    # A copy, since blocks are updated in place, and an array may share memory with its source.
    parameters, buffers = (
        tuple(backend.asarray(block, copy=True) for block in part) for part in layout.blocks(np, arrays)
    )
    slots = first_slots(backend, layout, optimizer, parameters)
    return State(parameters, buffers, slots, first_rate(backend, optimizer), step_number(backend, step))


def first_slots(
    backend: Backend, layout: Layout, optimizer: Optimizer, parameters: Blocks
) -> tuple[dict[str, Array], ...]:
    """The optimizer state before the first step.

    Raises
    ------
    UsageError
        When a slot has a shape or dtype that a file or another backend cannot hold.
    """
    with backend.scope():
        blocks = parameters if optimizer.elementwise else layout.split(backend.xp, parameters)
        slots = tuple(optimizer.init(backend.xp, block) for block in blocks)
    kind = type(optimizer).__name__
    for block, made in zip(blocks, slots, strict=True):
        if not isinstance(made, dict) or any("/" in name or not hasattr(made[name], "shape") for name in made):
            words = "a dict of arrays, by names without '/'"
            raise UsageError(f"{kind}.init must return {words}, but returns {shown(made)}")
        for name, slot in made.items():
            shapes = ((), block.shape) if optimizer.elementwise else (slot.shape,)
            if slot.shape not in shapes or slot.dtype != block.dtype:
                raise UsageError(
                    f"{kind}.init makes a slot {name!r} of shape {slot.shape} and {slot.dtype} for "
                    f"a block of shape {block.shape} and {block.dtype}: make it with xp.zeros_like(block), or give the "
                    "class elementwise = False, which allows slots of any shape"
                )
    return slots


def first_rate(backend: Backend, optimizer: Optimizer) -> Array:
    """The first learning rate as a 0-d array; 0 for a schedule, which does not use it."""
    return backend.asarray(np.asarray(0.0 if callable(optimizer.lr) else optimizer.lr))


def step_number(backend: Backend, step: int) -> Array:
    """A step count as a 0-d array of int32."""
    return backend.asarray(np.asarray(step, dtype=np.int32))


class SharedState:
    """A thread-safe state: one training at a time changes it, and any thread may read it meanwhile.

    Arrays that another thread has read never change afterwards, since training works on its own copies. While `change`
    runs, the state is changed in place or donated. A thread that reads it then waits, and gets a copy of the new state.

    Parameters
    ----------
    backend : Backend
    state : State
    """

    def __init__(self, backend: Backend, state: State) -> None:
        self.state = state
        self._backend = backend
        self._lock = threading.Lock()
        self._trainer: threading.Thread | None = None
        self._changing = False
        self._waiting: list[Future[State]] = []
        resets_after_fork(self)

    def read(self) -> State:
        """The state after the last completed batches; in the training thread, it is valid until the next batches.

        Raises
        ------
        UsageError
            In the training thread during a step, and in a process that was forked during a step.
        """
        with self._lock:
            if self._trainer is None:
                self._check_whole()
                return self.state
            if not self._changing:
                return self.state if self._is_mine() else self._copied()
            if self._is_mine():
                raise UsageError("the state cannot be read in the middle of a training step")
            answer: Future[State] = Future()
            self._waiting.append(answer)
        return answer.result()

    def replace(self, change: Callable[[State], State]) -> None:
        """Replace the state by ``change(state)``.

        Raises
        ------
        UsageError
            While another thread trains, which would overwrite the new state.
        """
        with self._lock:
            if self._trainer is not None and (self._changing or not self._is_mine()):
                raise UsageError(
                    "the model is being trained in another thread, which would overwrite this: wait for its end, or "
                    "do it in a callback of that training"
                )
            self._check_whole()
            self.state = change(self.state)

    @property
    def in_training(self) -> bool:
        return self._trainer is not None

    @property
    def is_trained_elsewhere(self) -> bool:
        """Whether another thread is training."""
        return self.in_training and not self._is_mine()

    @contextmanager
    def training(self) -> Iterator[None]:
        """A context in which only this thread may change the state.

        Raises
        ------
        UsageError
            When a training is running already.
        """
        with self._lock:
            if self._trainer is not None:
                where = "and a callback of it cannot train it too" if self._is_mine() else "in another thread"
                raise UsageError(f"the model is being trained already, {where}; train a copy: copy.deepcopy(model)")
            self._check_whole()
            self._trainer = threading.current_thread()
        try:
            # Other threads may hold the current arrays.
            self.state = self._copied()
            yield
        finally:
            with self._lock:
                self._trainer = None
                # The next training may reuse the memory that the steps have written to.
                self.state = self._copied()

    def change(self, step: Callable[[State], tuple[State, T]]) -> T:
        """Replace the state by the one that `step` returns, and return its other result; readers wait meanwhile."""
        with self._lock:
            self._changing = True
        # An interrupt after the old state was donated, but before the new one is stored, would lose both.
        interrupts = nullcontext() if self._backend.interruptible else signals.blocked()
        try:
            with interrupts:
                self.state, result = step(self.state)
        finally:
            self._finished()
        return result

    def _finished(self) -> None:
        with self._lock:
            self._changing = False
            waiting, self._waiting = self._waiting, []
            try:
                copy = self._copied() if waiting else self.state
            except Exception as error:
                for answer in waiting:
                    answer.set_exception(error)
                return
        for answer in waiting:
            answer.set_result(copy)

    def _check_whole(self) -> None:
        if self._changing:
            raise UsageError(
                "this process was forked while another thread was in the middle of a training step, so the weights are "
                "half changed here: fork before the training or in a callback of it, or start the process by spawn"
            )

    def reset_after_fork(self) -> None:
        """Reset the lock in a forked process, which has no other threads that could train or hold the lock."""
        self._lock, self._waiting = threading.Lock(), []
        if not self._is_mine():
            self._trainer = None

    def _is_mine(self) -> bool:
        return self._trainer is threading.current_thread()

    def _copied(self) -> State:
        state: State = rebuilt(self.state, map(self._backend.copy, leaves(self.state)))
        return state


class Resettable(Protocol):
    """An object with locks, which other threads may hold when a process forks."""

    def reset_after_fork(self) -> None: ...


_all: weakref.WeakSet[Resettable] = weakref.WeakSet()


def resets_after_fork(what: Resettable) -> None:
    """Call `reset_after_fork` of an object in every process that is forked from now on."""
    _all.add(what)


def _reset_all() -> None:
    for what in _all:
        what.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)
