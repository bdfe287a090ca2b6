"""The source of CUDA kernels: expressions for a value at an index, and loops over all indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from anynet.tracing import Value
from anynet.tracing.program import VIEWS

THREADS = 256
# One block reduces this many columns, so that its threads read neighbouring numbers.
COLUMNS = 32

Index = tuple[str, ...]
TYPES = {
    **{"b1": "bool", "i1": "signed char", "u1": "unsigned char", "i2": "short", "u2": "unsigned short", "i4": "int"},
    **{"u4": "unsigned", "i8": "long long", "u8": "unsigned long long", "f4": "float", "f8": "double"},
}
_UNSIGNED = {4: "unsigned", 8: "unsigned long long"}
_MAXIMUM = "({0} > {1} || {0} != {0}) ? {0} : {1}"
_MINIMUM = "({0} < {1} || {0} != {0}) ? {0} : {1}"
_OPERATIONS = {
    **{"add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": "{0} * {1}", "divide": "{0} / {1}"},
    **{"less": "{0} < {1}", "less_equal": "{0} <= {1}", "greater": "{0} > {1}", "greater_equal": "{0} >= {1}"},
    **{"equal": "{0} == {1}", "not_equal": "{0} != {1}", "logical_and": "{0} && {1}", "logical_or": "{0} || {1}"},
    **{"logical_xor": "(bool){0} != (bool){1}", "logical_not": "!{0}", "negative": "-{0}", "square": "{0} * {0}"},
    **{"bitwise_and": "{0} & {1}", "bitwise_or": "{0} | {1}", "bitwise_xor": "{0} ^ {1}"},
    **{"bitwise_left_shift": "{0} << {1}", "bitwise_right_shift": "{0} >> {1}", "bitwise_invert": "~{0}"},
    **{"maximum": _MAXIMUM, "minimum": _MINIMUM, "where": "{0} ? {1} : {2}", "astype": "{0}"},
    **{"sign": "{0} != {0} ? {0} : ({0} > 0) - ({0} < 0)", "abs": "{0} < 0 ? -{0} : {0}"},
    **{"isnan": "{0} != {0}", "isinf": "{0} == {0} && {0} - {0} != 0", "isfinite": "{0} - {0} == 0"},
}
_OF_FLOATS = {
    **{name: f"{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "floor", "ceil")},
    **{name: f"{name}({{0}})" for name in ("trunc", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos")},
    **{name: f"{name}({{0}})" for name in ("atan", "asinh", "acosh", "atanh")},
    **{name: f"{name}({{0}}, {{1}})" for name in ("pow", "atan2", "hypot")},
    **{"abs": "fabs({0})", "round": "rint({0})"},
}
_OF_BOOLS = {"bitwise_invert": "!{0}", "abs": "{0}", "sign": "{0}"}
# These must wrap around when they overflow. C does not define that for signed numbers, so they become unsigned.
_WRAPPING = ("add", "subtract", "multiply", "negative", "square", "bitwise_left_shift")
# Without INFINITY, which needs a header
_INFINITE = {math.inf: "1e308 * 10", -math.inf: "-1e308 * 10"}
_REDUCTIONS = {"sum": ("0", "a + b"), "prod": ("1", "a * b"), "any": ("0", "a || b"), "all": ("1", "a && b")}


def operation(x: Value) -> str | None:
    """The C expression of an elementwise operation, with {0}, {1}, ... for its operands; None if it has none here."""
    kind = x.inputs[-1].dtype.kind
    if kind == "f" and x.op in _OF_FLOATS:
        return _OF_FLOATS[x.op]
    if kind == "b" and x.op in _OF_BOOLS:
        return _OF_BOOLS[x.op]
    code = _OPERATIONS.get(x.op)
    if code and kind == "i" and x.op in _WRAPPING and x.dtype.itemsize in _UNSIGNED:
        whole = f"({_UNSIGNED[x.dtype.itemsize]})"
        return code.replace("{0}", whole + "{0}").replace("{1}", whole + "{1}")
    return code


def reduction(x: Value) -> tuple[str, str] | None:
    """A reduction's start value, and the C expression that combines `a` and `b`; None if it has none here."""
    if x.op not in ("max", "min") or x.dtype.kind == "b":
        return _REDUCTIONS.get(x.op)
    code = (_MAXIMUM if x.op == "max" else _MINIMUM).format("a", "b")
    if x.dtype.kind == "f":
        return literal(-math.inf if x.op == "max" else math.inf, x.dtype), code
    bounds = np.iinfo(x.dtype)
    return literal(bounds.min if x.op == "max" else bounds.max, x.dtype), code


def c_type(dtype: Any) -> str:
    return TYPES[dtype.str[1:]]


def literal(number: Any, dtype: Any) -> str:
    """A number as a C literal, exact to the last bit."""
    if dtype.kind != "f":
        number = int(number)
        text = f"-{2**63 - 1}LL - 1" if number == -(2**63) else f"{number}{'ULL' if number >= 2**63 else 'LL'}"
        return f"(({c_type(dtype)})({text}))"
    text = repr(float(number)) if math.isfinite(number) else _INFINITE.get(number, f"{_INFINITE[math.inf]} * 0")
    return f"(({c_type(dtype)})({text}))"


def flat(index: Index, shape: tuple[int, ...]) -> str:
    """The flat index in C order, from the index along each axis.

    >>> flat(("r", "c"), (4, 3))
    'r * 3 + c'
    """
    steps = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    terms = [i if step == 1 else f"{i} * {step}" for i, step in zip(index, steps, strict=True) if i != "0"]
    return " + ".join(terms) or "0"


def unflat(i: str, shape: tuple[int, ...]) -> Index:
    """The index along each axis, from the flat index in C order; an axis of length 1 has the index 0.

    >>> unflat("i", (4, 1, 3))
    ('(i / 3)', '0', '(i % 3)')
    """
    long = [axis for axis, length in enumerate(shape) if length != 1]
    index = ["0"] * len(shape)
    for axis in long:
        after = math.prod(shape[axis + 1 :])
        part = i if after == 1 else f"{i} / {after}"
        index[axis] = i if len(long) == 1 else f"({part})" if axis == long[0] else f"({part} % {shape[axis]})"
    return tuple(index)


def broadcast(index: Index, shape: tuple[int, ...]) -> Index:
    """The index at which an array of this shape is read when it is broadcast to a larger shape."""
    behind = index[len(index) - len(shape) :]
    return tuple("0" if length == 1 else i for length, i in zip(shape, behind, strict=True))


class Read(NamedTuple):
    """A read of a stored value at an index; `numbers` counts how many of its numbers all threads read together."""

    value: Value
    at: Index
    numbers: int

    @property
    def bytes(self) -> int:
        return self.numbers * int(self.value.dtype.itemsize)


class Expressions:
    """Lines of C that compute values at an index, each value once.

    Parameters
    ----------
    is_read : callable
        ``value -> bool``: whether to read the value from memory; otherwise it is computed.
    reference : callable
        ``(value, flat_index) -> str``: the C expression of a number in memory.
    """

    def __init__(self, is_read: Callable[[Value], bool], reference: Callable[[Value, str], str]) -> None:
        self.is_read = is_read
        self.reference = reference
        self.lines: list[str] = []
        self.reads: list[Read] = []
        self._names: dict[tuple[Value, Index], str] = {}

    def at(self, x: Value, index: Index) -> str:
        """The C name, or literal, of a value at an index."""
        if x.op == "constant":
            return literal(x.attributes["number"], x.dtype)
        if (x, index) not in self._names:
            code = self._code(x, index)
            self._names[x, index] = code if x.op in VIEWS and not self.is_read(x) else self._named(x, code)
        return self._names[x, index]

    def _named(self, x: Value, code: str) -> str:
        self.lines.append(f"const {c_type(x.dtype)} v{len(self.lines)} = {code};")
        return f"v{len(self.lines) - 1}"

    def _code(self, x: Value, index: Index) -> str:
        if self.is_read(x):
            self.reads.append(Read(x, index, x.size))
            return self.reference(x, flat(index, x.shape))
        if x.op in VIEWS:
            before = len(self.reads)
            name = self.at(x.inputs[0], _behind_view(x, index))
            self.reads[before:] = [read._replace(numbers=min(read.numbers, x.size)) for read in self.reads[before:]]
            return name
        code = f"({index[0]})" if x.op == "arange" else operation(x)
        assert code, x
        return code.format(*(self.at(y, broadcast(index, y.shape)) for y in x.inputs))


def _behind_view(x: Value, index: Index) -> Index:
    """The index at which a view reads its source."""
    source, told = x.inputs[0], x.attributes
    if x.op == "broadcast_to":
        return broadcast(index, source.shape)
    if x.op == "permute_dims":
        return tuple(index[told["axes"].index(axis)] for axis in range(len(index)))
    if x.op == "slice":
        moves = zip(index, told["starts"], told["steps"], strict=True)
        return tuple(i if move == [0, 1] else f"({i} * {move[1]} + {move[0]})" for i, *move in moves)
    return _reshaped(index, x.shape, source.shape)


def _reshaped(index: Index, shape: tuple[int, ...], source: tuple[int, ...]) -> Index:
    """The index in an array's shape before a reshape; axes of length 1 come and go without any arithmetic."""
    if [n for n in shape if n != 1] != [n for n in source if n != 1]:
        return unflat(f"({flat(index, shape)})", source)
    rest = iter([i for i, n in zip(index, shape, strict=True) if n != 1])
    return tuple("0" if n == 1 else next(rest) for n in source)


class Grid(NamedTuple):
    """How the blocks of a kernel's part divide an index space of rows and columns.

    ``map``: a thread for each number. ``one``: a single block for everything. ``rows``: a block for each row, or for
    several short ones. ``columns``: a block for every `COLUMNS` columns.
    """

    kind: str
    rows: int
    columns: int

    @property
    def blocks(self) -> int:
        by_kind = {"map": (self.rows * self.columns, THREADS), "one": (1, 1), "rows": (self.rows, self.rows_each)}
        work, each = by_kind.get(self.kind, (self.columns, COLUMNS))
        return -(-work // each)

    @property
    def rows_each(self) -> int:
        """How many rows a block has, each with the threads that it keeps busy."""
        return max(1, THREADS >> (self.columns - 1).bit_length())

    def index_in(self, shape: tuple[int, ...]) -> Index | None:
        """The index of a thread in a space of this shape; None if the grid does not divide the space by its axes."""
        if self.kind in ("map", "one"):
            return unflat("i", shape)
        for cut in self._cuts(shape):
            return unflat("r", shape[:cut]) + unflat("c", shape[cut:])
        return None

    def _cuts(self, shape: tuple[int, ...]) -> Iterator[int]:
        """How many of the first axes may count as rows, with the others as columns."""
        cuts = range(len(shape) + 1)
        if self.kind == "rows":
            return (cut for cut in cuts if math.prod(shape[:cut]) == self.rows)
        return (cut for cut in reversed(cuts) if math.prod(shape[cut:]) == self.columns)

    def index_reduced(self, x: Value) -> Index | None:
        """The index of a thread in the input of a reduction; None if this grid cannot compute the reduction."""
        shape, axes = x.inputs[0].shape, x.attributes["axes"]
        if self.kind == "one":
            kept = unflat("o", x.shape)
            reduced = unflat("k", tuple(n if axis in axes else 1 for axis, n in enumerate(shape)))
            return tuple(reduced[axis] if axis in axes else kept[axis] for axis in range(len(shape)))
        for cut in self._cuts(shape):
            inner = range(cut, len(shape)) if self.kind == "rows" else range(cut)
            if all((axis in inner) == (axis in axes) for axis, length in enumerate(shape) if length != 1):
                return unflat("r", shape[:cut]) + unflat("c", shape[cut:])
        return None


def map_loop(grid: Grid, shape: tuple[int, ...], lines: list[str]) -> list[str]:
    """A loop that runs these lines for each index of a space of this shape."""
    size = math.prod(shape)
    if grid.kind == "map":
        head = f"const int i = block * {THREADS} + tid; if (i < {size}) {{"
    elif grid.kind == "one":
        head = f"for (int i = tid; i < {size}; i += {THREADS}) {{"
    elif grid.kind == "rows":
        lanes = THREADS // grid.rows_each
        head = (
            f"const int r = block * {grid.rows_each} + tid / {lanes}; if (r < {grid.rows}) "
            f"for (int c = tid % {lanes}; c < {size // grid.rows}; c += {lanes}) {{"
        )
    else:
        head = (
            f"for (long long j = tid; j < {size // grid.columns * COLUMNS}LL; j += {THREADS}) {{ "
            f"const int r = j / {COLUMNS}, c = block * {COLUMNS} + j % {COLUMNS}; if (c >= {grid.columns}) continue;"
        )
    return ["{", head, *lines, "}", "}"]


def reduce_loop(grid: Grid, x: Value, lines: list[str], name: str, result: Callable[[str], str]) -> list[str]:
    """A loop that reduces: the threads are divided among the results, and then join their parts as a tree."""
    start, step = reduction(x) or ("", "")
    count, kind = x.inputs[0].size // x.size, c_type(x.dtype)
    o, k = {"one": ("o", "k"), "rows": ("r", "c"), "columns": ("c", "r")}[grid.kind]
    results, every = {"one": (x.size, x.size), "rows": (grid.rows, grid.rows_each)}.get(grid.kind, (x.size, COLUMNS))
    groups = min(THREADS, 1 << (every - 1).bit_length())
    lanes = THREADS // groups
    # Neighbouring threads read neighbouring numbers.
    group, lane, stride = (f"tid / {lanes}", f"tid % {lanes}", 1)
    if grid.kind != "rows":
        group, lane, stride = f"tid % {groups}", f"tid / {groups}", groups
    first = "0" if grid.kind == "one" else f"block * {every}"
    end = f"min({results}, {first} + {every})"
    return [
        f"for (int first = {first}; first < {end}; first += {groups}) {{",
        f"const int {o} = first + {group}, lane = {lane};",
        f"{kind} a = {start}, *shared = ({kind} *)room;",
        f"if ({o} < {end}) for (int {k} = lane; {k} < {count}; {k} += {lanes}) {{",
        *lines,
        f"const {kind} b = {name}; a = {step}; }}",
        "shared[tid] = a; __syncthreads();",
        f"for (int half = {lanes // 2}; half; half /= 2) {{",
        f"if (lane < half) {{ const {kind} b = shared[tid + half * {stride}]; a = {step}; shared[tid] = a; }}",
        "__syncthreads(); }",
        f"if (!lane && {o} < {end}) {result(o)} = a;",
        "__syncthreads(); }",
    ]
