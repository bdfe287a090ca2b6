"""Fusion of a program into few kernels: small operations share a kernel, and products write to their final place.

These values are stored in memory: products and their operands, reductions, outputs, and values that are expensive and
read more than once. All other values are recomputed in each loop that reads them. Loops are collected in one open
kernel. It is closed when its results are needed by a product, or by a loop that cannot be part of the same kernel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from anynet.backends.compiling import NotCompilable
from anynet.backends.cupy.cuda_code import (
    THREADS,
    TYPES,
    Expressions,
    Grid,
    Index,
    Read,
    c_type,
    flat,
    map_loop,
    reduce_loop,
)
from anynet.backends.cupy.fusion_rules import (
    ONE_BLOCK,
    behind_views,
    ends_of_chains,
    grids_of,
    in_two_stages,
    is_computed_by_the_library,
    is_computed_in_loops,
    is_joined,
    kept_in_memory,
)
from anynet.tracing import StepProgram, Value
from anynet.tracing.program import REDUCTIONS, in_order

MOST_NUMBERS = 2**31 - 1
# The parameters of a kernel, here pointers of 8 bytes, may take 4,096 bytes.
MOST_ARRAYS = 500


class Place(NamedTuple):
    """Where a value is stored in C order: the array, and the index of the first number in it.

    Arrays are ("state", i), ("batch", i), ("captured", i), ("metric", i) and ("temporary", i).
    """

    array: tuple[str, int]
    offset: int = 0


class Loop:
    """One pass over an index space, with the values that it writes and their places; a reduction writes only one."""

    def __init__(self, x: Value, place: Place, reduces: bool = False) -> None:
        self.stores = [(x, place)]
        self.reduces = reduces

    @property
    def value(self) -> Value:
        return self.stores[0][0]

    @property
    def space(self) -> tuple[int, ...]:
        return self.value.inputs[0].shape if self.reduces else self.value.shape

    @property
    def work(self) -> int:
        return math.prod(self.space)


class Part:
    """Loops that the same thread blocks run, one after the other."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.loops: list[Loop] = []


class Kernel(NamedTuple):
    """One launch. Its parts run side by side, each in its own blocks; `bytes` counts what it reads and writes."""

    source: str
    name: str
    blocks: int
    arrays: list[tuple[str, int]]
    bytes: int


class Plan:
    """The kernels, products and library calls of a program, in order.

    Attributes
    ----------
    nodes : list of Kernel and Value
        A value is a product, or another operation that the library must compute.
    place : dict of Value to Place
    temporaries : list of Value
        A value for each temporary array, which has the size and dtype of this value.
    captured : list of arrays
    source : str
        The CUDA source of all kernels.

    Raises
    ------
    NotCompilable
        When an array is empty, too large for an int index, or of a dtype such as complex; or there are too many arrays.
    """

    def __init__(self, program: StepProgram) -> None:
        if not all(0 < x.size <= MOST_NUMBERS for x in program.values):
            raise NotCompilable("an array that is empty, or of 2**31 numbers or more")
        if not all(x.dtype.str[1:] in TYPES for x in program.values):
            raise NotCompilable("a dtype that no kernel is written for")
        program = self.program = in_two_stages(program)
        self.place: dict[Value, Place] = {}
        self.temporaries: list[Value] = []
        self.captured: list[Any] = []
        self.nodes: list[Kernel | Value] = []
        self._copies: list[Loop] = []
        self._order = {x: i for i, x in enumerate(program.values)}
        self._ends = ends_of_chains(program)
        self._give_places(kept_in_memory(program, self._ends))
        self._open: list[Part] = []
        # The places that closed kernels have written, and those that the open kernel writes.
        self._ready = {place for x, place in self.place.items() if x.op in ("input", "captured")}
        self._waiting: dict[Place, Part] = {}
        self._schedule()
        self.source = "\n".join(node.source for node in self.nodes if isinstance(node, Kernel))

    def _give_places(self, kept: list[Value]) -> None:
        for kind, values in (("state", self.program.state), ("batch", self.program.batch)):
            self.place |= {x: Place((kind, i)) for i, x in enumerate(values)}
        for x in self.program.values:
            if x.op == "captured":
                self.place[x] = Place(("captured", len(self.captured)))
                self.captured.append(x.attributes["array"])
        for i, x in enumerate(self.program.metrics.values()):
            self._put(x, Place(("metric", i)))
        # Concats come first, so that their inputs are computed inside the concat's array.
        for x in sorted(kept, key=lambda x: (not is_joined(x), -self._order[x])):
            if x not in self.place:
                self._put(x, self._temporary(x))
        self._states: list[Loop] = []
        for i, (old, new) in enumerate(zip(self.program.state, self.program.new_state, strict=True)):
            if new is not old:
                self._states.append(Loop(new, Place(("state", i))))

    def _temporary(self, x: Value) -> Place:
        self.temporaries.append(x)
        return Place(("temporary", len(self.temporaries) - 1))

    def _put(self, x: Value, place: Place) -> None:
        """Let a value be written to a place, or be copied to it if it is already written elsewhere."""
        x = in_order(x)
        if x in self.place:
            self._copies.append(Loop(x, place))
            return
        self.place[x] = place
        if is_joined(x):
            for piece in x.inputs:
                self._put(piece, place)
                place = place._replace(offset=place.offset + piece.size)

    def _schedule(self) -> None:
        nodes: list[Loop | Value] = []
        for x, place in self.place.items():
            if x.op not in ("input", "captured") and not is_joined(x):
                nodes.append(x if is_computed_by_the_library(x) else Loop(x, place, x.op in REDUCTIONS))
        nodes += self._copies
        nodes.sort(key=lambda node: self._order[node.value if isinstance(node, Loop) else node])
        # Single numbers that depend on no other loop come first, so that they are ready for all others.
        first = [node for node in nodes if isinstance(node, Loop) and node.work == 1 and self._is_ready(node)]
        for loop in first:
            self._take(loop)
        self._take_all([node for node in nodes if node not in first])
        self._overwrite_state()
        self._close()

    def _take_all(self, nodes: list[Loop | Value]) -> None:
        while nodes:
            node = nodes.pop(0)
            if self._waits_for_open(node):
                # Loops that are ready join the open kernel before it is closed.
                for loop in [other for other in nodes if isinstance(other, Loop)]:
                    if self._is_ready(loop) and not self._waits_for_open(loop):
                        self._take(loop)
                        nodes.remove(loop)
                self._close()
            if isinstance(node, Loop):
                self._take(node)
            else:
                self.nodes.append(node)
                self._ready.add(self.place[node])

    def _waits_for_open(self, node: Loop | Value) -> bool:
        """Whether the open kernel must be closed first."""
        if isinstance(node, Loop):
            return self._parts_for(node) is None
        return any(place in self._waiting for x in node.inputs for place in self._places_of(behind_views(x)))

    def _overwrite_state(self) -> None:
        """Write the new state last, so that the old one is read before; arrays of one shape share a loop."""
        by_shape: dict[Any, Loop] = {}
        copies = []
        for loop in self._states:
            if self._is_read_where_it_is_written(loop):
                there = by_shape.setdefault(loop.space, loop)
                if there is not loop:
                    there.stores += loop.stores
                continue
            ((x, place),) = loop.stores
            copies.append(Loop(x, place))
            # The old state may be overwritten before the copy, so a value that is stored nowhere else gets a temporary.
            source = x if in_order(x) in self.program.state else in_order(x)
            if source not in self.place:
                temporary = self._temporary(x)
                self._take(Loop(x, temporary))
                self.place[source] = temporary
        if copies:
            self._close()
        for loop in chain(by_shape.values(), copies):
            if self._reads_of_open() & {place.array for _, place in loop.stores}:
                self._close()
            self._take(loop)

    def _is_read_where_it_is_written(self, loop: Loop) -> bool:
        """Whether each thread reads changing arrays only at the index that it writes itself."""
        states = zip(self.program.state, self.program.new_state, strict=True)
        changed = {old: new.shape for old, new in states if new is not old}
        index = Grid("map", 1, loop.work).index_in(loop.space)
        return all(
            x not in changed or (changed[x] == loop.space and at == index) for x, at, _ in self._reads(loop, index)
        )

    def _reads_of_open(self) -> set[Any]:
        """The arrays that the open kernel reads."""
        loops = [(loop, part.grid) for part in self._open for loop in part.loops]
        reads = (self._reads(loop, self._index(loop, grid)) for loop, grid in loops)
        return {self.place[read.value].array for read in chain.from_iterable(reads)}

    def _close(self) -> None:
        if self._open:
            self.nodes.append(self._kernel())
        self._ready.update(self._waiting)
        self._open, self._waiting = [], {}

    def _is_written(self, x: Value) -> bool:
        """Whether a value is read from memory; before it is written there, loops recompute it if they can."""
        if x not in self.place:
            return False
        return self.place[x] in self._ready or x in self._ends or not is_computed_in_loops(x)

    def _expressions(self, loop: Loop, reference: Any = lambda x, index: "memory") -> Expressions:
        # A loop cannot read the values that it writes itself.
        own = {x for x, place in loop.stores if self.place.get(x) == place}
        return Expressions(lambda x: x not in own and self._is_written(x), reference)

    def _index(self, loop: Loop, grid: Grid) -> Index:
        index = grid.index_reduced(loop.value) if loop.reduces else grid.index_in(loop.space)
        assert index is not None
        return index

    def _computed(self, loop: Loop) -> Iterable[Value]:
        return [loop.value.inputs[0]] if loop.reduces else [x for x, _ in loop.stores]

    def _reads(self, loop: Loop, index: Index | None) -> list[Read]:
        if index is None:
            return []
        expressions = self._expressions(loop)
        for x in self._computed(loop):
            expressions.at(x, index)
        return expressions.reads

    def _needs(self, loop: Loop) -> list[Place]:
        """The places that must be written before a loop runs, in any kernel."""
        index = self._index(loop, Grid("one", 1, loop.work))
        return [place for read in self._reads(loop, index) for place in self._places_of(read.value)]

    def _places_of(self, x: Value) -> Iterator[Place]:
        """The places that must be written before a stored value is read."""
        x = in_order(x)
        if not is_joined(x):
            yield self.place[x]
            return
        place = self.place[x]
        for piece in map(in_order, x.inputs):
            yield from self._places_of(piece) if self.place[piece] == place else (place,)
            place = place._replace(offset=place.offset + piece.size)

    def _is_ready(self, loop: Loop) -> bool:
        return all(place in self._ready or place in self._waiting for place in self._needs(loop))

    def _take(self, loop: Loop) -> None:
        parts = self._parts_for(loop)
        if parts is None:
            self._close()
            parts = self._parts_for(loop)
        assert parts is not None, loop.value
        part = self._merged(parts) if parts else self._part_of_its_own(loop)
        if part.grid.kind == "map" and part.loops:
            part.loops[0].stores.extend(loop.stores)
        else:
            part.loops.append(loop)
        self._waiting |= {place: part for _, place in loop.stores}

    def _parts_for(self, loop: Loop) -> list[Part] | None:
        """The parts of the open kernel that a loop must join to read their results; None if it must be closed first."""
        parts = list({id(part): part for place in self._needs(loop) if (part := self._waiting.get(place))}.values())
        kinds = {part.grid if part.grid.kind != "one" else "one" for part in parts}
        if not parts:
            return []
        if len(kinds) > 1 or parts[0].grid.kind == "map":
            return None
        if kinds == {"one"}:
            return parts if loop.work <= ONE_BLOCK else None
        return parts if self._stays_in_its_blocks(loop, parts) else None

    def _merged(self, parts: list[Part]) -> Part:
        """Merge parts into one, whose blocks run the loops of all."""
        first, *others = parts
        for part in others:
            first.loops += part.loops
            self._open.remove(part)
            self._waiting |= {place: first for loop in part.loops for _, place in loop.stores}
        return first

    def _part_of_its_own(self, loop: Loop) -> Part:
        """A part for a loop that reads no results of the open kernel; loops over the same space share one pass."""
        if not loop.reduces:
            for part in self._open:
                if part.grid.kind == "map" and part.loops[0].space == loop.space:
                    return part
        grid = grids_of(loop.value)[0] if loop.reduces else Grid("map", 1, loop.work)
        self._open.append(Part(grid))
        return self._open[-1]

    def _stays_in_its_blocks(self, loop: Loop, parts: list[Part]) -> bool:
        """Whether each block reads, of the results of these parts, only those that it has written itself.

        This is never so for a concat: its index may be that of a piece, and still mean another number.
        """
        grid = parts[0].grid
        index = grid.index_reduced(loop.value) if loop.reduces else grid.index_in(loop.space)
        return index is not None and all(
            read.at == grid.index_in(read.value.shape) and not is_joined(read.value)
            for read in self._reads(loop, index)
            if any(self._waiting.get(place) in parts for place in self._places_of(read.value))
        )

    def _kernel(self) -> Kernel:
        arrays: dict[tuple[str, int], str] = {}

        def reference(x: Value, index: str, place: Place | None = None) -> str:
            array, offset = place or self.place[x]
            arrays[array] = c_type(x.dtype)
            return f"{array[0]}_{array[1]}[{f'{offset} + ' if offset else ''}{index}]"

        lines, start, count = [], 0, 0
        for part in self._open:
            blocks = part.grid.blocks
            lines += [f"if (block >= {start} && block < {start + blocks}) {{", f"block -= {start};"]
            for i, loop in enumerate(part.loops):
                lines += ["__syncthreads();"] * bool(i)
                lines += self._lines(loop, part.grid, reference)
                count += sum(read.bytes for read in self._reads(loop, self._index(loop, part.grid)))
                count += sum(x.size * x.dtype.itemsize for x, _ in loop.stores)
            lines += ["return;", "}"]
            start += blocks
        if len(arrays) > MOST_ARRAYS:
            raise NotCompilable("a kernel of too many arrays")
        name = f"fused_{sum(isinstance(node, Kernel) for node in self.nodes)}"
        parameters = ", ".join(f"{kind} *{array[0]}_{array[1]}" for array, kind in arrays.items())
        source = [
            f'extern "C" __global__ void {name}({parameters}) {{',
            f"__shared__ double room[{THREADS}]; (void)room;",
            "const int tid = threadIdx.x; int block = blockIdx.x;",
            *lines,
            "}",
        ]
        return Kernel("\n".join(source), name, start, list(arrays), count)

    def _lines(self, loop: Loop, grid: Grid, reference: Any) -> list[str]:
        expressions = self._expressions(loop, reference)
        index = self._index(loop, grid)
        names = [expressions.at(x, index) for x in self._computed(loop)]
        if loop.reduces:
            ((x, place),) = loop.stores
            return reduce_loop(grid, x, expressions.lines, names[0], lambda o: reference(x, o, place))
        i = flat(index, loop.space)
        stores = [f"{reference(x, i, place)} = {name};" for (x, place), name in zip(loop.stores, names, strict=True)]
        return map_loop(grid, loop.space, [*expressions.lines, *stores])
