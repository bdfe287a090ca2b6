"""The operations of a program as NumPy calls that write into given arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from anynet.backends.numpy.cblas import addmm, axpy, is_here
from anynet.tracing import StepProgram, Value
from anynet.tracing.evaluation import compute
from anynet.tracing.program import BINARY, ELEMENTWISE, REDUCTIONS, UNARY, VIEWS, rewritten

Call: TypeAlias = Callable[[], Any]

# A matrix of at least this many rows and at most this many columns is stored in Fortran order, since NumPy loops over
# a short last axis row by row.
MANY_ROWS = 32
FEW_COLUMNS = 32
# Up to this many numbers, NumPy adds faster than another library can be called.
FEW_NUMBERS = 1 << 13
# NumPy goes through rows of fewer numbers one by one at a loss.
MANY_COLUMNS = 512
# An array of this many numbers still fits into the L1 cache.
SMALL = 1 << 14

# Each number of the result depends on one number of each input.
NUMBER_BY_NUMBER = ELEMENTWISE | {"axpy"}

_REDUCING = {
    **{"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"},
    **{"all": "logical_and", "any": "logical_or"},
}


def with_sums_in_place(program: StepProgram, lanes: dict[Value, Any]) -> StepProgram:
    """The program with each matrix product, or multiple, fused into the sum or difference that alone reads it.

    The fused operations are those of BLAS. ``addmm``, named as in PyTorch, of y, a, b, alpha and beta is
    beta y + alpha a b. ``axpy`` of y, x and alpha is y + alpha x. A difference has the attribute ``sign`` -1. `lanes`
    is extended by the new values.
    """
    readers = Counter(y for x in program.values for y in x.inputs)
    readers.update((*program.new_state, *program.metrics.values()))

    def stages(x: Value, new: Mapping[Value, Value]) -> list[Value]:
        made = summed(x, new)
        lanes.update((y, lanes[x]) for y in made if x in lanes)
        return made

    def summed(x: Value, new: Mapping[Value, Value]) -> list[Value]:
        one = Value("constant", (), (), x.dtype, {"number": 1.0})
        if x.size > FEW_NUMBERS and is_here(x.dtype):
            for op, *inputs in _sums(x, readers, one):
                there = tuple(new.get(y, y) for y in inputs)
                return [one, Value(op, there, x.shape, x.dtype, {"sign": -1 if x.op == "subtract" else 1})]
        return [replace(x, inputs=tuple(new[y] for y in x.inputs))]

    return rewritten(program, stages)


def _sums(x: Value, readers: Mapping[Value, int], one: Value) -> Iterator[tuple[Any, ...]]:
    """The BLAS operations that can compute a sum or a difference, each with its inputs."""

    def scaled(y: Value) -> tuple[Value, Value]:
        """The array and the number whose product a value is; else the value itself, and 1."""
        if y.op == "multiply" and readers[y] == 1:
            for z, number in (y.inputs, y.inputs[::-1]):
                if number.size == 1:
                    return z, number
        return y, one

    ways = {"add": (x.inputs, x.inputs[::-1]), "subtract": (x.inputs,)}.get(x.op, ())
    for y, added in ways:
        term, alpha = scaled(added)
        if term.shape == x.shape and term.op == "matmul" and readers[term] == 1 and _is_of_matrices(term):
            there, beta = scaled(y) if y.shape == x.shape else (y, one)
            yield "addmm", there, *term.inputs, alpha, beta
        elif term.shape == x.shape == y.shape and alpha is not one:
            yield "axpy", y, term, alpha


def _is_of_matrices(product: Value) -> bool:
    return all(len(x.shape) == 2 and x.size for x in product.inputs)


def may_be_written_over(x: Value) -> int:
    """How many of an operation's first inputs its result may overwrite."""
    if x.op in UNARY or x.op in BINARY:
        return len(x.inputs)
    return 1 if x.op in ("addmm", "axpy") else 0


def lies_in_columns(x: Value) -> bool:
    """Whether a value is best stored column by column: for matrices, in Fortran order."""
    if x.op in VIEWS or len(x.shape) < 2:
        return False
    return math.prod(x.shape[:-1]) >= MANY_ROWS and 0 < x.shape[-1] <= FEW_COLUMNS


def calls_of(x: Value, inputs: list[Any], out: Any) -> list[Call]:
    """The calls that compute a value from the arrays of its inputs, into `out`: a new array, or an input's."""
    if x.op in ("addmm", "axpy"):
        there = [] if out is inputs[0] else _copies(inputs[0], out)
        return [*there, (_sum_of_product if x.op == "addmm" else _sum_of_multiple)(x, inputs, out)]
    if x.op in UNARY or x.op in BINARY:
        call: Call = partial(_ufunc(x), *_beside_others(x, inputs), out=out)
    elif x.op in REDUCTIONS:
        call = _reduction(x, inputs[0], out)
    elif x.op == "matmul":
        call = _product(inputs[0], inputs[1], out)
    elif x.op == "all_reduce":
        call = partial(x.attributes["function"], inputs[0], out)
    elif x.op == "take":
        call = partial(np.take, *inputs, x.attributes["axis"], out, "raise")
    elif x.op == "astype":
        call = partial(np.copyto, out, inputs[0], "unsafe")
    else:
        call = partial(_assign, x, inputs, out)
    return [call]


def _sum_of_product(x: Value, inputs: list[Any], out: Any) -> Call:
    _, a, b, alpha, beta = inputs
    if not out.flags.c_contiguous:
        out, a, b = out.T, b.T, a.T

    def by_numpy(sign: int = x.attributes["sign"]) -> None:
        out[...] = beta * out + sign * alpha * a.dot(b)

    by_blas = addmm(a, b, out, alpha, beta, x.attributes["sign"])
    return partial(_unless_0, by_blas, by_numpy, (alpha, beta)) if by_blas else by_numpy


def _sum_of_multiple(x: Value, inputs: list[Any], out: Any) -> Call:
    _, y, alpha = inputs

    def by_numpy(sign: int = x.attributes["sign"]) -> None:
        out[...] += sign * alpha * y

    by_blas = axpy(y, out, alpha, x.attributes["sign"])
    return partial(_unless_0, by_blas, by_numpy, (alpha,)) if by_blas else by_numpy


def _unless_0(by_blas: Call, by_numpy: Call, numbers: tuple[Any, ...]) -> None:
    """Leave a multiplication by 0 to NumPy, since BLAS skips it and so loses inf and NaN."""
    (by_blas if all(numbers) else by_numpy)()


def _ufunc(x: Value) -> Any:
    if x.op == "round":
        return np.positive if x.dtype.kind in "iu" else np.rint
    return getattr(np, x.op)


def _beside_others(x: Value, inputs: list[Any]) -> list[Any]:
    """Replace constants by vectors: NumPy's maximum and minimum are several times faster with these."""
    if x.op not in ("maximum", "minimum") or not x.shape:
        return inputs
    shape = x.shape if x.size <= SMALL else _long_enough(x.shape)
    pairs = zip(x.inputs, inputs, strict=True)
    return [np.full(shape, array) if y.op == "constant" else array for y, array in pairs]


def _long_enough(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As many of the last axes as NumPy can go through together without losing time between them."""
    return next((shape[i:] for i in range(len(shape) - 1, 0, -1) if math.prod(shape[i:]) >= MANY_COLUMNS), shape)


def _copies(array: Any, out: Any) -> list[Call]:
    """Calls that copy an array to a larger one; a short row, such as a bias, is first repeated to a longer one."""
    columns = array.size
    is_row = array.shape[-1:] == out.shape[-1:] == (columns,)
    if not is_row or columns >= MANY_COLUMNS or out.size <= SMALL or not out.flags.c_contiguous:
        return [partial(np.copyto, out, array)]
    rows = out.size // columns
    times = next(n for n in range(MANY_COLUMNS // columns, 0, -1) if rows % n == 0)
    row = np.empty((times, columns), out.dtype)
    return [
        partial(np.copyto, row, array.reshape(columns)),
        partial(np.copyto, out.reshape(-1, row.size), row.reshape(-1)),
    ]


def _reduction(x: Value, array: Any, out: Any) -> Call:
    axes = x.attributes["axes"]
    if x.op in ("argmax", "argmin"):
        return partial(getattr(np, x.op), array, axes[0], out, keepdims=True)
    if x.op == "sum" and axes == (0,) and array.ndim == 2 and x.dtype.name in ("float32", "float64"):
        # A product with ones adds up rows faster than a reduction does.
        return partial(np.ones(len(array), x.dtype).dot, array, out.reshape(-1))
    return partial(getattr(np, _REDUCING[x.op]).reduce, array, axes, x.dtype, out, True)


def _product(x: Any, y: Any, out: Any) -> Call:
    if x.ndim > 2 and y.ndim == 2 and x.flags.c_contiguous and out.flags.c_contiguous:
        # One product of all rows, in place of many.
        x, out = (array.reshape(math.prod(array.shape[:-1]), array.shape[-1]) for array in (x, out))
    if x.ndim != 2 or y.ndim != 2:
        return partial(np.matmul, x, y, out)
    # The method skips NumPy's dispatcher.
    return partial(x.dot, y, out) if out.flags.c_contiguous else partial(y.T.dot, x.T, out.T)


def _assign(x: Value, inputs: list[Any], out: Any) -> None:
    out[...] = compute(np, x, inputs)
