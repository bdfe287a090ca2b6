"""A step compiled to the NumPy calls of its program, which reuse the same memory for each batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anynet.backends.base import Array
from anynet.backends.numpy.blas import usual_threads
from anynet.backends.numpy.lanes import side_by_side
from anynet.backends.numpy.lowering import with_sums_in_place
from anynet.backends.numpy.memory import placed
from anynet.backends.numpy.pieces import in_pieces
from anynet.backends.numpy.plan import Plan
from anynet.tracing import StepProgram, Value
from anynet.tracing.trees import leaves, rebuilt


class CompiledStep:
    """A program compiled to NumPy calls.

    It is thread-safe: threads that run it at the same time each use their own memory.

    Parameters
    ----------
    program : StepProgram
    """

    def __init__(self, program: StepProgram) -> None:
        products = (x for x in program.values if x.op == "matmul")
        self.multiplications = sum(x.size * x.inputs[0].shape[-1] for x in products)
        program, self.lanes = in_pieces(program, usual_threads())
        self.is_in_pieces = bool(self.lanes)
        self.program = with_sums_in_place(program, self.lanes)
        self._idle: list[_Calls] = []

    def run(self, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...] = ()) -> tuple[Any, dict[str, Array]]:
        """Repeat the step over the first axis of the batches, as `Backend.run` does."""
        calls = self._calls_on(state)
        try:
            return calls.run(state, batches, data)
        finally:
            self._idle.append(calls)

    def _calls_on(self, state: Any) -> _Calls:
        while True:
            try:
                calls = self._idle.pop()
            except IndexError:
                return _Calls(self.program, self.lanes, state)
            if calls.fit(state):
                return calls


class _Calls:
    """The calls of one step, for states and batches of fixed shapes and dtypes; only one thread at a time uses them.

    If the step changes its state, the calls have their own arrays for it, and copy any other state there first. If the
    step only reads its state, the calls use the given arrays in place.
    """

    def __init__(self, program: StepProgram, lanes: Mapping[Value, tuple[int, int]], state: Any) -> None:
        given = leaves(state)
        self.changes_state = any(new is not old for new, old in zip(program.new_state, program.state, strict=True))
        self._given = [] if self.changes_state else given
        self._state = [placed(np.array(x, order="C")) for x in given] if self.changes_state else given
        self._batch = [np.empty(x.shape, x.dtype) for x in program.batch]
        plan = Plan(program, lanes, self._state, self._batch)
        self.stages, self.metrics = plan.stages, plan.metrics

    def fit(self, state: Any) -> bool:
        """Whether these calls can use a state: any, if they copy it, else only the one that they were made for."""
        return self.changes_state or all(map(lambda x, given: x is given, leaves(state), self._given))

    def run(self, state: Any, batches: tuple[Array, ...], data: tuple[Array, ...] = ()) -> tuple[Any, dict[str, Array]]:
        """Run the calls for each batch, as `Backend.run` does."""
        if self.changes_state:
            self._begin_with(leaves(state))
            state = rebuilt(state, iter(self._state))
        collected = {name: np.empty((len(batches[0]), *x.shape), x.dtype) for name, x in self.metrics.items()}
        with side_by_side(max(map(len, self.stages), default=1)) as run:
            for i in range(len(batches[0])):
                self._fill([array[i] for array in batches], data)
                for stage in self.stages:
                    run(stage)
                for name, x in self.metrics.items():
                    collected[name][i] = x
        return state, collected

    def _begin_with(self, state: list[Array]) -> None:
        elsewhere = [(own, array) for own, array in zip(self._state, state, strict=True) if own is not array]
        if any(np.may_share_memory(own, array) for own in self._state for _, array in elsewhere):
            elsewhere = [(own, array.copy()) for own, array in elsewhere]
        for own, array in elsewhere:
            own[...] = array

    def _fill(self, batch: list[Array], data: tuple[Array, ...]) -> None:
        """Copy a batch, or the rows of its row numbers, to where the calls read it."""
        for kept, array in zip(self._batch, data, strict=False):
            # With the default mode NumPy would take into a copy first, to check row numbers that are already checked.
            np.take(array, batch[0], axis=0, out=kept, mode="wrap")
        for kept, array in zip(self._batch[len(data) :], batch[1:] if data else batch, strict=True):
            kept[...] = array
