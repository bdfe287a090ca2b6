"""The plan of a step: which NumPy call computes each value of its program, and in which memory."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from anynet.backends.base import Array
from anynet.backends.numpy.joins import as_one_view, in_steps, read_by
from anynet.backends.numpy.lowering import NUMBER_BY_NUMBER, Call, calls_of, lies_in_columns, may_be_written_over
from anynet.backends.numpy.memory import Memory
from anynet.tracing import StepProgram, Value
from anynet.tracing.evaluation import compute
from anynet.tracing.program import ELEMENTWISE, REDUCTIONS, VIEWS, in_order

# No loop and no lane: what is computed of the whole batch.
_WHOLE: tuple[int | None, int | None] = (None, None)


@dataclass(eq=False)
class _Place:
    """Memory that several values use one after the other, and the number of the last operation that reads them.

    Only the values of one lane write there: operations of other lanes may run before or after.
    """

    last: float
    room: Any = None
    lane: int | None = None
    memory: Any = None


class Plan:
    """Decides which call computes each value, and in which memory.

    Attributes
    ----------
    stages : list of list of list of callable
        Each of one or more lists of calls, which may run side by side.
    """

    def __init__(
        self, program: StepProgram, lanes: Mapping[Value, tuple[int, int]], state: list[Array], batch: list[Array]
    ) -> None:
        self.program, self._lanes = program, lanes
        self.stages: list[list[list[Call]]] = []
        self.calls: list[Call] = []
        self._at = _WHOLE
        self._memory: defaultdict[int | None, Memory] = defaultdict(Memory)
        self._last = _last_readers(program)
        self._slots = _slots(program)
        self._becomes = _becoming(program, self._last, self._slots)
        self._beside_state = _beside_the_state(program)
        self._only_joined, self._only_multiplied = read_by(program, "concat"), read_by(program, "matmul", "addmm")
        self._arrays: dict[Value, Array] = {}
        self._places: dict[Value, _Place] = {}
        self._live: list[_Place] = []
        for x, array in zip((*program.state, *program.batch), (*state, *batch), strict=True):
            self._arrays[x], self._places[x] = array, _Place(self._last.get(x, -1))
        for i, x in enumerate(program.values):
            self._enter(*lanes.get(x, _WHOLE))
            if x.op != "input":
                self._write(i, x)
            self._give_back(i)
        self._enter(*_WHOLE)
        self.metrics = {name: self._apart_from_the_state(x) for name, x in program.metrics.items()}
        self._bring_the_state_home()

    def _enter(self, loop: int | None, lane: int | None) -> None:
        """Go on with the calls of a lane; without one, with those that all lanes wait for."""
        if (loop, lane) != self._at or not self.stages:
            self.calls = []
            if lane is None or loop != self._at[0]:
                self.stages.append([])
            self.stages[-1].append(self.calls)
            self._at = loop, lane

    def _give_back(self, i: int) -> None:
        """Give back what no later operation reads; in a lane only its own, since the others may still be reading."""
        lane = self._at[1]
        for place in [place for place in self._live if place.last <= i and lane in (None, place.lane)]:
            self._live.remove(place)
            place.memory.give_back(place.room)

    def _write(self, i: int, x: Value) -> None:
        inputs = [self._arrays[y] for y in x.inputs]
        varies = any(y in self._places for y in x.inputs) or x.op in ("addmm", "axpy", "all_reduce")
        if x.op == "captured" or not varies:
            # The same in each step, so it is computed now.
            self._arrays[x] = compute(np, x, inputs)
            if x.op == "captured":
                self._places[x] = _Place(math.inf)
        elif x.op in VIEWS:
            self._view(x, *inputs)
        elif x.op == "concat":
            self._join(x, inputs)
        else:
            out = self._out(i, x)
            self.calls += calls_of(x, inputs, out)
            self._arrays[x] = out

    def _view(self, x: Value, array: Array) -> None:
        view = compute(np, x, [array])
        if np.may_share_memory(view, array) or not x.size:
            self._arrays[x], self._places[x] = view, self._places[x.inputs[0]]
            return
        self._arrays[x] = out = self._new(x)
        self.calls.append(partial(np.copyto, out.reshape(array.shape), array))

    def _join(self, x: Value, inputs: list[Array]) -> None:
        axis = x.attributes["axis"]
        if self._is_a_view(x, inputs):
            return
        if x not in self._arrays:
            # The shorter the rows, the longer it takes to copy them one by one, if they can be copied in columns, too.
            is_along_rows = axis > 0 and inputs[0].strides[axis - 1] == x.dtype.itemsize
            self._arrays[x] = self._new(
                x, in_columns=lies_in_columns(x) and is_along_rows and x in self._only_multiplied
            )
        ends = [0, *accumulate(y.shape[axis] for y in x.inputs)]
        before = (slice(None),) * axis
        for is_there, run in groupby(range(len(inputs)), lambda i: self._is_in(x, x.inputs[i])):
            if is_there:
                continue
            for numbers, array in in_steps([*run], inputs, axis):
                there = self._arrays[x][(*before, slice(ends[numbers[0]], ends[numbers[-1] + 1]))]
                self.calls.append(partial(np.copyto, there.reshape(array.shape), array))

    def _is_a_view(self, x: Value, inputs: list[Array]) -> bool:
        """Make a concat that others copy further a view of what its parts are views of, if it can be one."""
        place = self._places.get(x.inputs[0])
        view = None
        if place and x in self._only_joined and all(self._places.get(y) is place for y in x.inputs):
            view = as_one_view(inputs, x.attributes["axis"], x.shape)
        if place and view is not None:
            self._arrays[x], self._places[x] = view, place
            place.last = max(place.last, self._last[x])
        return view is not None

    def _is_in(self, joined: Value, y: Value) -> bool:
        """Whether an input of a concat has been computed there."""
        source = in_order(y)
        return self._slots.get(source) == (joined, y) and self._places.get(source) is self._places[joined]

    def _out(self, i: int, x: Value) -> Array:
        """The array that an operation writes to: a slice of a concat, the old state's, an input's, or a new one."""
        if x in self._slots:
            return self._slot(x)
        over = may_be_written_over(x)
        only_read = [self._places.get(y) for y in x.inputs[over:]]
        if x in self._becomes:
            place = self._places[self._becomes[x]]
            if place.last <= i and place not in only_read and self._is_mine(place):
                return self._taken(x, place, self._arrays[self._becomes[x]])
        for y in x.inputs[:over]:
            read, array = self._places.get(y), self._arrays[y]
            if read and read.last <= i and read not in only_read and self._is_mine(read) and self._suits(x, array):
                return self._taken(x, read, array)
        in_columns = len(x.shape) == 2 and lies_in_columns(x) and x not in self._beside_state
        return self._new(x, in_columns=in_columns)

    def _suits(self, x: Value, array: Array) -> bool:
        # One row of what is broadcast may be contiguous, but is read-only.
        if (array.shape, array.dtype) != (x.shape, x.dtype) or not array.flags.writeable:
            return False
        return bool(array.flags.c_contiguous or (array.flags.f_contiguous and x not in self._beside_state))

    def _is_mine(self, place: _Place) -> bool:
        """Whether no other lane may be reading what is there."""
        return self._at[1] in (None, place.lane)

    def _taken(self, x: Value, place: _Place, array: Array) -> Array:
        self._places[x] = place
        place.last, place.lane = self._last[x], self._at[1]
        return array

    def _new(self, x: Value, last: float | None = None, in_columns: bool = False) -> Array:
        size = x.size * x.dtype.itemsize
        lane = self._lanes.get(x, _WHOLE)[1]
        memory = self._memory[lane]
        room = memory.take(size)
        self._places[x] = place = _Place(self._last[x] if last is None else last, room, lane, memory)
        self._live.append(place)
        flat = room[:size].view(x.dtype)
        return np.moveaxis(flat.reshape(x.shape[-1:] + x.shape[:-1]), 0, -1) if in_columns else flat.reshape(x.shape)

    def _slot(self, x: Value) -> Array:
        """The slice of a concat's array in which a value is computed."""
        joined, part = self._slots[x]
        if joined not in self._arrays:
            parts = [in_order(y) for y in joined.inputs]
            last = max(self._last[y] for y in (joined, *parts) if y is joined or y in self._slots)
            self._arrays[joined] = self._new(joined, last)
        self._places[x] = self._places[joined]
        before = joined.inputs[: joined.inputs.index(part)]
        start = sum(y.size for y in before)
        return self._arrays[joined].reshape(-1)[start : start + x.size].reshape(x.shape)

    def _lies_with_the_state(self, x: Value) -> bool:
        return any(self._places.get(x) is self._places[old] for old in self.program.state)

    def _apart_from_the_state(self, x: Value) -> Array:
        array = self._arrays[x]
        if not self._lies_with_the_state(x):
            return array
        apart = np.empty(array.shape, array.dtype)
        self.calls.append(partial(np.copyto, apart, array))
        return apart

    def _bring_the_state_home(self) -> None:
        """Copy each new state to the old one's memory, unless it is computed there."""
        pairs = zip(self.program.state, self.program.new_state, strict=True)
        away = [(self._arrays[old], new) for old, new in pairs if self._arrays[new] is not self._arrays[old]]
        # All sources are copied out of the state's memory first, so that no copy overwrites the source of another.
        sources = [self._apart_from_the_state(new) for _, new in away]
        self.calls += [partial(np.copyto, own, source) for (own, _), source in zip(away, sources, strict=True)]


def _last_readers(program: StepProgram) -> dict[Value, float]:
    """For each value, the number of the last operation that reads it, directly or through a view."""
    last: dict[Value, float] = dict.fromkeys((*program.new_state, *program.metrics.values()), math.inf)
    for i, x in reversed(list(enumerate(program.values))):
        last.setdefault(x, i)
        for y in x.inputs:
            last[y] = max(last.get(y, -1), last[x] if x.op in VIEWS else i)
    return last


def _slots(program: StepProgram) -> dict[Value, tuple[Value, Value]]:
    """The values that can be computed inside the result of a concat, each with that concat and its input there."""
    slots: dict[Value, tuple[Value, Value]] = {}
    for x in program.values:
        if x.op == "concat" and math.prod(x.shape[: x.attributes["axis"]]) == 1:
            for part in x.inputs:
                source = in_order(part)
                if x.inputs.count(part) == 1 and source.op in ("matmul", *ELEMENTWISE, *REDUCTIONS):
                    slots.setdefault(source, (x, part))
    return slots


def _becoming(program: StepProgram, last: dict[Value, float], slots: Any) -> dict[Value, Value]:
    """The values that are best computed in an old state's memory: the new state, and values on the way to it."""
    numbers = {x: i for i, x in enumerate(program.values)}
    becomes: dict[Value, Value] = {}
    for old, new in zip(program.state, program.new_state, strict=True):
        x: Value | None = new if new is not old else None
        while x and x.op not in ("input", "captured", *VIEWS) and x not in becomes and x not in slots:
            becomes[x] = old
            alike = (y for y in x.inputs if (y.shape, y.dtype, last[y]) == (x.shape, x.dtype, numbers[x]))
            x = next((y for y in alike if x.op in NUMBER_BY_NUMBER and y.op in NUMBER_BY_NUMBER), None)
    return becomes


def _beside_the_state(program: StepProgram) -> set[Value]:
    """The values that the new state is computed from number by number, and so need its memory order.

    So do matrices that become arrays of more axes, such as images, beside which those in Fortran order are slow.
    """
    found: set[Value] = set()
    todo = [*program.new_state, *(x.inputs[0] for x in program.values if x.op == "reshape" and len(x.shape) > 2)]
    while todo:
        x = todo.pop()
        if x not in found:
            found.add(x)
            todo += x.inputs if x.op in NUMBER_BY_NUMBER else ()
    return found
