"""The operations of a program as calls of NumPy that write where they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from anynet.backends.cblas import addmm, is_for_blas
from anynet.tracing import Program, Value
from anynet.tracing.program import BINARY, REDUCTIONS, UNARY, VIEWS, rewritten

Call: TypeAlias = Callable[[], Any]

# Of so many rows, so few columns lie one after the other, for NumPy computes a short last axis row by row.
MANY_ROWS = 32
FEW_COLUMNS = 32
# So few are added sooner than another library is called.
FEW_NUMBERS = 1 << 14
# An array of so many numbers that are all the same still fits into the first cache.
SMALL = 1 << 14

_UFUNCS = {"abs": "absolute", "round": "rint"}
_REDUCING = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"} | {
    "all": "logical_and",
    "any": "logical_or",
}


def with_products_added(program: Program) -> Program:
    """The program with each product that is only added to something as one operation with that.

    It is ``addmm``, as in PyTorch: of y, a, b, alpha and beta, the sum beta y + alpha a b, or the difference.
    """
    readers = Counter(y for x in program.values for y in x.inputs)
    readers.update((*program.new_state, *program.metrics.values()))

    def stages(x: Value, new: Mapping[Value, Value]) -> list[Value]:
        one = Value("constant", (), (), x.dtype, {"number": 1.0})
        added = _product_added(x, readers, one)
        if not added:
            return [replace(x, inputs=tuple(new[y] for y in x.inputs))]
        inputs = tuple(new.get(y, y) for y in added)
        return [one, Value("addmm", inputs, x.shape, x.dtype, {"sign": -1 if x.op == "subtract" else 1})]

    return rewritten(program, stages)


def _product_added(x: Value, readers: Mapping[Value, int], one: Value) -> tuple[Value, ...]:
    """The inputs of the ``addmm`` that a sum or a difference is; none where it is another."""

    def scaled(y: Value) -> tuple[Value, Value]:
        """What a value is a multiple of, and the number that it is multiplied by."""
        if y.op == "multiply" and readers[y] == 1:
            for z, number in (y.inputs, y.inputs[::-1]):
                if number.size == 1 and z.shape == y.shape:
                    return z, number
        return y, one

    ways = {"add": (x.inputs, x.inputs[::-1]), "subtract": (x.inputs,)}.get(x.op, ())
    if x.size <= FEW_NUMBERS:
        return ()
    for y, added in ways:
        product, alpha = scaled(added)
        if product.op == "matmul" and product.shape == x.shape and readers[product] == 1 and is_for_blas(product):
            there, beta = scaled(y) if y.shape == x.shape else (y, one)
            return there, *product.inputs, alpha, beta
    return ()


def may_be_written_over(x: Value) -> int:
    """In the place of how many of its first inputs a call may leave its result."""
    if x.op in UNARY or x.op in BINARY:
        return len(x.inputs)
    return 1 if x.op == "addmm" else 0


def lies_in_columns(x: Value) -> bool:
    """Whether the first axis is best the one along which numbers lie beside each other."""
    if x.op in VIEWS or x.op == "concat":
        return False
    return len(x.shape) == 2 and x.shape[0] >= MANY_ROWS and x.shape[1] <= FEW_COLUMNS


def calls_of(x: Value, inputs: list[Any], out: Any) -> list[Call]:
    """What computes a value from its inputs' arrays, into one that is new, or one that may be written over."""
    if x.op == "addmm":
        return _product_and_sum(inputs, out, x.attributes["sign"])
    if x.op in UNARY or x.op in BINARY:
        call: Call = partial(_ufunc(x), *_beside_others(x, inputs), out=out)
    elif x.op in REDUCTIONS:
        call = _reduction(x, inputs[0], out)
    elif x.op == "matmul":
        call = _product(inputs[0], inputs[1], out)
    elif x.op == "take":
        call = partial(np.take, *inputs, x.attributes["axis"], out, "raise")
    elif x.op == "astype":
        call = partial(np.copyto, out, inputs[0], "unsafe")
    else:
        call = partial(_choose, inputs, out)
    return [call]


def _product_and_sum(inputs: list[Any], out: Any, sign: int) -> list[Call]:
    y, a, b, alpha, beta = inputs
    before = [] if out is y else [partial(np.copyto, out, y)]
    if not out.flags.c_contiguous:
        out, a, b = out.T, b.T, a.T
    return [*before, addmm(a, b, out, alpha, beta, sign) or partial(_add_product, a, b, out, alpha, beta, sign)]


def _add_product(a: Any, b: Any, out: Any, alpha: Any, beta: Any, sign: int) -> None:
    out *= beta
    out += sign * alpha * a.dot(b)


def _ufunc(x: Value) -> Any:
    if x.op == "round" and x.dtype.kind != "f":
        return np.positive
    return getattr(np, _UFUNCS.get(x.op, x.op))


def _beside_others(x: Value, inputs: list[Any]) -> list[Any]:
    """NumPy compares with a vector several times faster than with a constant."""
    if x.op not in ("maximum", "minimum") or not x.shape:
        return inputs
    shape = x.shape if x.size <= SMALL else x.shape[-1:]
    pairs = zip(x.inputs, inputs, strict=True)
    return [np.full(shape, array) if y.op == "constant" else array for y, array in pairs]


def _reduction(x: Value, array: Any, out: Any) -> Call:
    axes = x.attributes["axes"]
    if x.op in ("argmax", "argmin"):
        return partial(getattr(np, x.op), array, axes[0], out, keepdims=True)
    if x.op == "sum" and axes == (0,) and array.ndim == 2 and x.dtype.kind == "f":
        # A product with ones adds up rows faster than a reduction does.
        return partial(np.ones(len(array), x.dtype).dot, array, out.reshape(-1))
    return partial(getattr(np, _REDUCING[x.op]).reduce, array, axes, x.dtype, out, True)


def _product(x: Any, y: Any, out: Any) -> Call:
    if x.ndim != 2 or y.ndim != 2:
        return partial(np.matmul, x, y, out)
    # The method saves the way through NumPy's dispatcher.
    return partial(x.dot, y, out) if out.flags.c_contiguous else partial(y.T.dot, x.T, out.T)


def _choose(inputs: list[Any], out: Any) -> None:
    out[...] = np.where(*inputs)
