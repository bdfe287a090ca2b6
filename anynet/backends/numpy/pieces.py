"""A program whose batch is cut into pieces: what it computes of a piece stays in the cache until it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

from anynet.backends.numpy.cuts import COMBINING, Cut, cuts_of
from anynet.tracing import StepProgram, Value
from anynet.tracing.program import VIEWS

# About the size of a processor's L2 cache: the most bytes of one value of a piece.
FITTING = 1 << 20
# Planning takes longer with each piece.
MOST_PIECES = 128
# Each further call costs as much time as going through so many bytes outside the cache in place of inside.
BYTES_PER_CALL = 1 << 15


def in_pieces(program: StepProgram, lanes: int) -> tuple[StepProgram, dict[Value, tuple[int, int]]]:
    """The program that computes its batch in pieces; and for each value of a piece, its loop and lane.

    The lanes of a loop are independent of each other. A sum over the batch is that of the sums over its pieces. What
    is computed from such a sum, and from each row again, waits for the next loop.

    Parameters
    ----------
    program : StepProgram
    lanes : int
        How many to have at most.
    """
    lengths = {x.shape[:1] for x in program.batch}
    if len(lengths) != 1 or lengths == {()}:
        return program, {}
    ((length,),) = lengths
    cuts = cuts_of(program, length, length)
    sizes = [
        x.size * x.dtype.itemsize for x, cut in cuts.items() if x.op not in ("input", *VIEWS) and cut.axis is not None
    ]
    count = min(-(-max(sizes, default=0) // FITTING), length, MOST_PIECES)
    if count < 2 or sum(size for size in sizes if size > FITTING) < BYTES_PER_CALL * count * len(sizes):
        return program, {}
    lanes = min(lanes, count)
    count = min(-(-count // lanes) * lanes, length)
    cuts = cuts_of(program, length, length // count)
    return _Pieces(program, cuts, [i * length // count for i in range(count + 1)], lanes).result()


class _Pieces:
    """Writes the program: for each loop, what is computed whole before it, and then piece after piece."""

    def __init__(self, program: StepProgram, cuts: Mapping[Value, Cut], bounds: list[int], lanes: int) -> None:
        self.program, self.cuts, self.lanes = program, cuts, lanes
        self.bounds = list(pairwise(bounds))
        self.values: list[Value] = []
        self.lane_of: dict[Value, tuple[int, int]] = {}
        self._now: tuple[int, int] | None = None
        # What stands for a value as a whole, and for its pieces.
        self._whole: dict[Value, Value] = {x: x for x in (*program.state, *program.batch)}
        self._pieces: dict[tuple[Value, int], Value] = {}

    def result(self) -> tuple[StepProgram, dict[Value, tuple[int, int]]]:
        values = [x for x in self.program.values if x not in self._whole]
        self.values += [x for x in self.program.values if x in self._whole]
        loops = _loops(self.program, self.cuts)
        for loop in range(max(loops.values(), default=0) + 1):
            here = [x for x in values if loops[x] == loop]
            for x in here:
                if x not in self.cuts:
                    self._whole[x] = self._add(replace(x, inputs=tuple(map(self._joined, x.inputs))))
            self._loop(loop, [x for x in here if x in self.cuts])
        new_state = [self._joined(x) for x in self.program.new_state]
        metrics = {name: self._joined(x) for name, x in self.program.metrics.items()}
        return self.program._replace(values=self.values, new_state=new_state, metrics=metrics), self.lane_of

    def _add(self, x: Value) -> Value:
        self.values.append(x)
        if self._now is not None:
            self.lane_of[x] = self._now
        return x

    def _loop(self, loop: int, values: list[Value]) -> None:
        sums = [x for x in values if self.cuts[x].axis is None]
        count = len(self.bounds)
        totals: list[dict[Value, Value]] = []
        for lane in range(self.lanes):
            self._now = loop, lane
            total: dict[Value, Value] = {}
            for i in range(lane * count // self.lanes, (lane + 1) * count // self.lanes):
                for x in values:
                    self._pieces[x, i] = self._add(self._piece(x, i))
                    if x in sums:
                        total[x] = self._combined(x, total.get(x), self._pieces[x, i])
            totals.append(total)
        self._now = None
        for x in sums:
            for total in totals:
                self._whole[x] = self._combined(x, self._whole.get(x), total[x])

    def _combined(self, x: Value, before: Value | None, more: Value) -> Value:
        return more if before is None else self._add(Value(COMBINING[x.op], (before, more), x.shape, x.dtype))

    def _piece(self, x: Value, i: int) -> Value:
        cut, shape = self.cuts[x], [*x.shape]
        start, stop = self.bounds[i]
        if cut.axis is not None:
            shape[cut.axis] = (stop - start) * cut.rows
        inputs = (self._part(y, place, i, cut.rows) for y, place in zip(x.inputs, cut.places, strict=True))
        return replace(x, inputs=tuple(inputs), shape=tuple(shape))

    def _part(self, y: Value, axis: int | None, i: int, rows: int) -> Value:
        """What a piece reads of an input: its own piece, a slice of the whole, or all of it."""
        if (y, i) in self._pieces and self.cuts[y].axis is not None:
            return self._pieces[y, i]
        whole = self._whole[y]
        if axis is None:
            return whole
        rows = self.cuts[y].rows if y in self.cuts and self.cuts[y].axis is not None else rows
        start, stop = self.bounds[i]
        starts = tuple(start * rows if j == axis else 0 for j in range(len(y.shape)))
        shape = (*y.shape[:axis], (stop - start) * rows, *y.shape[axis + 1 :])
        told = {"starts": starts, "steps": (1,) * len(shape)}
        return self._add(Value("slice", (whole,), shape, y.dtype, told))

    def _joined(self, x: Value) -> Value:
        if x not in self._whole:
            parts = tuple(self._pieces[x, i] for i in range(len(self.bounds)))
            self._whole[x] = self._add(Value("concat", parts, x.shape, x.dtype, {"axis": self.cuts[x].axis}))
        return self._whole[x]


def _loops(program: StepProgram, cuts: Mapping[Value, Cut]) -> dict[Value, int]:
    """The loop that computes a value's pieces; or for a whole value the one before which it is computed, the latest."""
    beside = _after_earlier_messages(program)
    loops: dict[Value, int] = dict.fromkeys((*program.state, *program.batch), 0)
    given = set(loops)

    def ready(y: Value, is_cut: bool) -> int:
        has_to_end = y in cuts and y not in given and not (is_cut and cuts[y].axis is not None)
        return loops[y] + has_to_end

    for x in program.values:
        inputs = (*x.inputs, *beside.get(x, ()))
        loops.setdefault(x, max((ready(y, x in cuts) for y in inputs), default=0))
    last = max(loops[x] + (x in cuts and x not in given) for x in program.values)
    latest: dict[Value, int] = {}
    for x in reversed(program.values):
        if x not in cuts:
            loops[x] = latest.get(x, last)
        for y in (*x.inputs, *beside.get(x, ())):
            latest[y] = min(latest.get(y, last), loops[x])
    return loops


def _after_earlier_messages(program: StepProgram) -> dict[Value, tuple[Value, ...]]:
    """For each sum over processes the one before it: all processes must come to them in the same order."""
    messages = [x for x in program.values if x.op == "all_reduce"]
    return {x: (before,) for before, x in pairwise(messages)}
