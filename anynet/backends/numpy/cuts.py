"""Which operations of a program can be computed for a few rows of the batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from anynet.tracing import StepProgram, Value
from anynet.tracing.program import ALONG_AN_AXIS, ELEMENTWISE, REDUCTIONS

# A product of fewer rows with a larger matrix is computed whole: each piece would read that matrix again.
MANY_ROWS = 64
FEW_BYTES = 1 << 17

# How the results of pieces become that of the whole batch, where an operation goes across it.
COMBINING = {
    **{"matmul": "add", "sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"},
    **{"all": "logical_and", "any": "logical_or"},
}

Axes: TypeAlias = list[int | None]
Rule: TypeAlias = Callable[[Value, Axes, int, int], "Cut | None"]


class Cut(NamedTuple):
    """How an operation is computed piece by piece.

    Attributes
    ----------
    axis : int or None
        The axis along which its pieces lie side by side; None if they are added up.
    rows : int
        The length along that axis for each row of the batch.
    places : tuple of (int or None)
        For each input the axis along which it is cut, too; None if each piece needs all of it.
    """

    axis: int | None
    rows: int
    places: tuple[int | None, ...] = ()


def cuts_of(program: StepProgram, length: int, rows: int) -> dict[Value, Cut]:
    """The values that are computed in pieces of at least so many rows of the batch."""
    cuts = {x: Cut(0, 1) for x in program.batch}
    for x in program.values:
        known = [cuts.get(y) for y in x.inputs]
        axes = [cut.axis if cut else None for cut in known]
        if x.size and any(axis is not None for axis in axes):
            per_row = max(cut.rows for cut in known if cut and cut.axis is not None)
            rule = _RULES.get(x.op)
            cut = rule(x, axes, per_row, length) if rule else None
            if cut and not _is_of_few_rows(x, cut, rows):
                cuts[x] = cut
    return cuts


def _broadcast(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    """Of inputs that are broadcast: they are cut along the same axis, counted from the end."""
    from_end = {len(y.shape) - axis for y, axis in zip(x.inputs, axes, strict=True) if axis is not None}
    if len(from_end) > 1:
        return None
    (end,) = from_end
    return Cut(len(x.shape) - end, rows, tuple(_there(y, end) for y in x.inputs))


def _there(y: Value, end: int) -> int | None:
    """The axis that is so far from the end, unless it is broadcast."""
    axis = len(y.shape) - end
    return axis if axis >= 0 and y.shape[axis] > 1 else None


def _product(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    a, b = ((len(y.shape) - axis if axis is not None else None) for y, axis in zip(x.inputs, axes, strict=True))
    left, right = (len(y.shape) for y in x.inputs)
    if (a, b) in ((1, 2), (1, None), (None, 2)):
        return Cut(None, rows, (left - 1, right - 2))
    if (a, b) == (2, None):
        return Cut(len(x.shape) - 2, rows, (left - 2, None))
    if (a, b) == (None, 1):
        return Cut(len(x.shape) - 1, rows, (None, right - 1))
    return _broadcast(x, axes, rows, length) if min(a or 3, b or 3) > 2 else None


def _take(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    source, indices = axes
    axis = x.attributes["axis"]
    if source is None and indices is not None:
        return Cut(axis + indices, rows, (None, indices))
    return Cut(source, rows, (source, None)) if source is not None and indices is None and source < axis else None


def _is_of_few_rows(x: Value, cut: Cut, rows: int) -> bool:
    """Whether an operation is a product of few rows with a large matrix, or of few columns that adds up to one."""
    if x.op != "matmul" or (cut.axis is not None and cut.axis < len(x.shape) - 2):
        return False
    large = next((y for y, place in zip(x.inputs, cut.places, strict=True) if place is None), x)
    return cut.rows * rows < MANY_ROWS and large.size * large.dtype.itemsize > FEW_BYTES


def _reduction(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    (axis,) = axes
    if axis not in x.attributes["axes"]:
        return Cut(axis, rows, (axis,))
    return Cut(None, rows, (axis,)) if x.op in COMBINING else None


def _along(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    """Of an operation that goes along one axis, but may be cut along another."""
    cut = _broadcast(x, axes, rows, length)
    return cut if cut and cut.axis != x.attributes["axis"] else None


def _reshape(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    (first,) = axes
    before = math.prod(x.inputs[0].shape[:first])
    for axis, count in enumerate(x.shape):
        if math.prod(x.shape[:axis]) == before and count % length == 0:
            return Cut(axis, count // length, (first,))
    return None


def _permutation(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    return Cut(x.attributes["axes"].index(axes[0]), rows, (axes[0],))


def _slice(x: Value, axes: Axes, rows: int, length: int) -> Cut | None:
    axis = axes[0] or 0
    is_whole = x.shape[axis] == x.inputs[0].shape[axis] and x.attributes["steps"][axis] == 1
    return Cut(axis, rows, (axis,)) if is_whole else None


# For each operation, from the axes along which its inputs are cut, their length for each row of the batch, and the rows
# of the batch: how it is cut; None if it needs all of them.
_RULES: dict[str, Rule] = {
    **dict.fromkeys((*ELEMENTWISE, "broadcast_to"), _broadcast),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys((*ALONG_AN_AXIS, "concat", "take_along_axis"), _along),
    **{"matmul": _product, "take": _take, "reshape": _reshape, "permute_dims": _permutation, "slice": _slice},
}
