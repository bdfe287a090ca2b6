"""A program: what a step computes, as a short list of operations of the Array API standard."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

UNARY = frozenset(
    (
        *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "bitwise_invert", "ceil", "cos", "cosh", "exp"),
        *("expm1", "floor", "isfinite", "isinf", "isnan", "log", "log10", "log1p", "log2", "logical_not", "negative"),
        *("round", "sign", "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc"),
    )
)
BINARY = frozenset(
    (
        *("add", "atan2", "bitwise_and", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift", "bitwise_xor"),
        *("copysign", "divide", "equal", "floor_divide", "greater", "greater_equal", "hypot", "less", "less_equal"),
        *("logaddexp", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "multiply", "nextafter"),
        *("not_equal", "pow", "remainder", "subtract"),
    )
)
ELEMENTWISE = frozenset((*UNARY, *BINARY, "where", "astype"))
VIEWS = frozenset(("reshape", "permute_dims", "slice", "broadcast_to"))
REDUCTIONS = frozenset(("sum", "prod", "max", "min", "all", "any", "argmax", "argmin"))

# Functions of all numbers along one axis, which keep the shape.
ALONG_AN_AXIS = frozenset(("argsort", "cumulative_sum", "cumulative_prod"))


class NotTraceable(TypeError):
    """The function does something with an array that a program cannot record."""


class NoSuchFunction(NotTraceable, AttributeError):
    """A function that a program cannot record; ``hasattr`` says False of it."""


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One operation and its result.

    Attributes
    ----------
    op : str
        ``input`` (of the function), ``captured`` (an array from outside it), ``constant`` (a number), ``arange``, a
        function of `ELEMENTWISE`, `VIEWS`, `REDUCTIONS` or `ALONG_AN_AXIS`, ``matmul``, ``concat``, ``take``,
        ``take_along_axis`` or ``searchsorted``. Two are not of the standard: ``segment_sum``, see `segment_sum`, and
        ``all_reduce``, the sum over processes, whose attribute `function` writes it: ``function(x, out)``.
    inputs : tuple of Value
        Elementwise operations broadcast inputs of one dtype; a cast is a separate operation, ``astype``.
    shape : tuple of int
    dtype : numpy.dtype
    attributes : dict
        Further arguments, such as axes (never negative) or the number of a constant. A reduction keeps the axes that
        it reduces, with length 1.
    """

    op: str
    inputs: tuple[Value, ...]
    shape: tuple[int, ...]
    dtype: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __repr__(self) -> str:
        told = {name: value for name, value in self.attributes.items() if name != "array"}
        return f"{self.op}{told or ''} -> {self.dtype}{list(self.shape)}"


class Program(NamedTuple):
    """What a function of arrays computes.

    Attributes
    ----------
    values : list of Value
        All values that an output needs, each after its inputs.
    inputs, outputs : list of Value
    """

    values: list[Value]
    inputs: list[Value]
    outputs: list[Value]


class StepProgram(NamedTuple):
    """What a step computes.

    Attributes
    ----------
    values : list of Value
        All values that an output needs, each after its inputs.
    state, batch : list of Value
        The inputs of the step, one for each array.
    new_state : list of Value
        The new value of each array in `state`, in the same order.
    metrics : dict of str to Value
    """

    values: list[Value]
    state: list[Value]
    batch: list[Value]
    new_state: list[Value]
    metrics: dict[str, Value]


def in_order(x: Value) -> Value:
    """The value before any reshapes, which has the same numbers in the same order."""
    return in_order(x.inputs[0]) if x.op == "reshape" else x


def rewritten(program: StepProgram, stages: Callable[[Value, Mapping[Value, Value]], list[Value]]) -> StepProgram:
    """The program with each value replaced by one or more others.

    Parameters
    ----------
    program : StepProgram
    stages : callable
        ``(value, new) -> values``, the values to compute instead; the last one takes the place of `value`. `new` maps
        each earlier value of the program to its replacement.
    """
    new: dict[Value, Value] = {}
    values: list[Value] = []
    for x in program.values:
        values += stages(x, new)
        new[x] = values[-1]
    after = [new[x] for x in program.new_state]
    metrics = {name: new[x] for name, x in program.metrics.items()}
    needed = needed_for([*after, *metrics.values()], values)
    state, batch = ([new.get(x, x) for x in given] for given in (program.state, program.batch))
    return StepProgram([x for x in values if x in needed], state, batch, after, metrics)


def needed_for(outputs: list[Value], values: list[Value]) -> set[Value]:
    """Of all values, the outputs, what they are computed from, and every sum over processes, which others wait for."""
    needed: set[Value] = set()
    todo = [*outputs, *(x for x in values if x.op == "all_reduce")]
    while todo:
        value = todo.pop()
        if value not in needed:
            needed.add(value)
            todo += value.inputs
    return needed
