"""Preparing a program for kernels: what is stored, what the library computes, and how reductions are divided."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from anynet.backends.cupy.cuda_code import Grid, operation, reduction
from anynet.tracing import StepProgram, Value
from anynet.tracing.program import ELEMENTWISE, REDUCTIONS, VIEWS, in_order, rewritten

# Up to this many numbers, a single block does the work, so that no second kernel must wait for the first.
ONE_BLOCK = 4096
# A value that takes more operations than this, and is read more than once, is stored.
DEAR = 64
# The longest chain of operations in one loop, since the functions that write the code recurse once per operation.
LONGEST = 150


def is_joined(x: Value) -> bool:
    """Whether a value is a concat that consists of its inputs, one after the other in memory."""
    return x.op == "concat" and math.prod(x.shape[: x.attributes["axis"]]) == 1


def is_computed_in_loops(x: Value) -> bool:
    return x.op in VIEWS or x.op in ("arange", "constant") or (x.op in ELEMENTWISE and operation(x) is not None)


def is_computed_by_the_library(x: Value) -> bool:
    if x.op in REDUCTIONS:
        return not grids_of(x)
    return not (is_computed_in_loops(x) or is_joined(x) or x.op in ("input", "captured"))


def grids_of(x: Value) -> list[Grid]:
    """The grids that can compute a reduction, the best first; none if the library must compute it."""
    if reduction(x) is None:
        return []
    shape, work = x.inputs[0].shape, x.inputs[0].size
    if work <= ONE_BLOCK:
        return [Grid("one", 1, work)]
    cuts = ((math.prod(shape[:cut]), math.prod(shape[cut:])) for cut in range(1, len(shape)))
    grids = (Grid(kind, *cut) for cut in cuts for kind in ("rows", "columns"))
    return [grid for grid in grids if grid.index_reduced(x) is not None]


def in_two_stages(program: StepProgram) -> StepProgram:
    """The program with each large reduction to a single number as two: of each row, and then of the rows' results."""

    def stages(x: Value, new: Mapping[Value, Value]) -> list[Value]:
        inputs = tuple(new[y] for y in x.inputs)
        if not (x.op in REDUCTIONS and x.size == 1 and reduction(x) and (rows := _rows(x.inputs[0]))):
            return [replace(x, inputs=inputs)]
        source = in_order(inputs[0])
        table = Value("reshape", (source,), (rows, source.size // rows), source.dtype)
        partial = Value(x.op, (table,), (rows, 1), x.dtype, {"axes": (1,)})
        total = Value(x.op, (partial,), (1, 1), x.dtype, {"axes": (0, 1)})
        return [table, partial, total, Value("reshape", (total,), x.shape, x.dtype)]

    return rewritten(program, stages)


def _rows(x: Value) -> int:
    """How many rows a full reduction is divided into, at most as many as one block takes; 0 if it is not divided."""
    if x.size <= ONE_BLOCK:
        return 0
    along_axes = [math.prod(x.shape[:cut]) for cut in range(len(x.shape))]
    divisors = [rows for rows in range(ONE_BLOCK, 1, -1) if x.size % rows == 0]
    return next((rows for rows in (*reversed(along_axes), *divisors) if 1 < rows <= ONE_BLOCK), 0)


def behind_views(x: Value) -> Value:
    """The value whose memory a view reads; any other value itself."""
    return behind_views(x.inputs[0]) if x.op in VIEWS else x


def ends_of_chains(program: StepProgram) -> set[Value]:
    """The values to store because the chain of operations up to them is too long for one loop."""
    ends: set[Value] = set()
    lengths: dict[Value, int] = {}
    for x in program.values:
        lengths[x] = 1 + max((lengths[y] for y in x.inputs), default=0)
        if lengths[x] > LONGEST:
            ends.add(behind_views(x))
        if behind_views(x) in ends or not is_computed_in_loops(x):
            lengths[x] = 1
    return ends


def kept_in_memory(program: StepProgram, ends: set[Value]) -> list[Value]:
    """The values to store in memory."""
    readers: dict[Value, int] = {}
    for x in program.values:
        for y in x.inputs:
            readers[y] = readers.get(y, 0) + 1
    kept: set[Value] = set()
    operations: dict[Value, int] = {}
    for x in program.values:
        by_library = is_computed_by_the_library(x)
        if by_library:
            kept.update(map(behind_views, x.inputs))
        if x.op in ELEMENTWISE and x.size > 1:
            # A single number that a whole array is computed with
            kept.update(y for y in map(behind_views, x.inputs) if y.size == 1 and y.op in ELEMENTWISE)
        operations[x] = 1 + sum(0 if y in kept else operations[y] for y in x.inputs)
        if by_library or x.op in REDUCTIONS or x.op == "concat":
            kept.add(x)
        elif operations[x] > DEAR and readers.get(x, 0) > 1:
            kept.add(behind_views(x))
    return [x for x in program.values if x in kept or x in ends]
