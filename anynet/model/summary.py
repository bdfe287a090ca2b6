"""A model as a table: its layers, their output shapes, numbers of parameters and memory."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np

from anynet.errors import shown
from anynet.model.base import BaseModel
from anynet.model.host_state import slot_shapes
from anynet.nn import Concat, Layer, Layout, Sequential
from anynet.nn.checks import check_input_shape
from anynet.nn.containers import children, container_in, leaves
from anynet.nn.layer import InputShape, Shape

HEADINGS = ("name", "layer", "output", "parameters", "trainable")
NUMBERS = HEADINGS[-2:]
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
NOT_YET = "? is known once the model has seen data, or for samples of a given shape: summary(input_shape)"


class Row(NamedTuple):
    """One layer; what depends on the shape of a sample is None while the shape is unknown."""

    name: str
    layer: str
    output: Shape | None = None
    parameters: int | None = None
    trainable: int | None = None


@dataclass(frozen=True, repr=False)
class Summary:
    """A table that prints as text, and shows as HTML in a notebook.

    Attributes
    ----------
    title : str
    rows : tuple of Row
        One for each layer, in the order of the forward pass. The layers of a container follow it, and its numbers
        include theirs, those that layers share once. The last row is the whole network.
    memory : dict
        The bytes of the ``weights`` (with buffers), the ``gradients`` and the ``optimizer`` state; empty while the
        shape of a sample is unknown.
    """

    title: str
    rows: tuple[Row, ...]
    memory: dict[str, int]

    def __repr__(self) -> str:
        table = [HEADINGS, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join([self.title, "", *(_line(cells, widths) for cells in table), "", self._last_line()])

    def _repr_html_(self) -> str:
        """HTML without colours of its own, so that it suits light and dark pages."""
        table = "".join(_html_row(cells) for cells in (HEADINGS, *map(_cells, self.rows)))
        return f"<p>{html.escape(self.title)}</p><table>{table}</table><p>{html.escape(self._last_line())}</p>"

    def _last_line(self) -> str:
        sizes = [f"{what} {human(size)}" for what, size in self.memory.items()]
        return "memory: " + ", ".join(sizes) if sizes else NOT_YET


def summary(model: BaseModel, input_shape: InputShape | None = None) -> Summary:
    """Make the table of `Model.summary`; the shape is the model's own if left out."""
    shape = model.input_shape if input_shape is None else check_input_shape(input_shape)
    # Start with the whole network: its error for a shape that does not fit names the layer.
    whole = _row("total", model.network, shape)._replace(layer="")
    rows = _rows(model.network, shape) if children(model.network) else [_row("", model.network, shape)]
    return Summary(_made_of(model), (*rows, whole), _memory(model, shape, whole))


def short(model: BaseModel) -> str:
    """A model in three lines, as its repr."""
    layers = ", ".join(brief(layer) for _, layer in leaves(model.network))
    if model.input_shape is None:
        size = "not built yet"
    else:
        whole = _row("", model.network, model.input_shape)
        size = f"{whole.parameters:,} parameters ({whole.trainable:,} trainable), {model.input_shape} -> {whole.output}"
    lines = textwrap.shorten(layers, 110, placeholder=" ..."), _made_of(model), f"{size}, epochs trained: {model.epoch}"
    return "<Model " + "\n ".join(lines) + ">"


def brief(part: Any) -> str:
    """A layer, loss or optimizer as one would write it, without arguments that have their default.

    >>> from anynet.nn import SGD, GlorotUniform, Linear
    >>> brief(Linear(8, bias=GlorotUniform())), brief(SGD(0.1, 0.9))
    ('Linear(8, bias=GlorotUniform())', 'SGD(0.1, 0.9)')
    """
    if isinstance(part, (Sequential, Concat)):
        return f"{type(part).__name__}({len(part)} layers)"
    given: list[str] = []
    for place, field in enumerate(fields(part) if is_dataclass(part) else ()):
        value = getattr(part, field.name)
        if repr(value) != repr(field.default):
            text = f"{value:.4g}" if isinstance(value, float) else shown(value, longest=20)
            text = brief(value) if is_dataclass(value) else text
            given.append(text if len(given) == place else f"{field.name}={text}")
    return f"{type(part).__name__}({', '.join(given)})"


def human(size: int) -> str:
    """A number of bytes in the largest unit that fits.

    >>> human(1000), human(437548)
    ('1000 B', '427.3 KiB')
    """
    power = min((max(size, 1).bit_length() - 1) // 10, len(UNITS) - 1)
    return f"{size / 1024**power:.1f} {UNITS[power]}" if power else f"{size} B"


def _rows(layer: Layer, shape: InputShape | None, path: str = "") -> Iterator[Row]:
    outputs: list[Shape | None] = []
    for name, inner in children(layer):
        given = None if shape is None else container_in(layer).given(name, shape, outputs)
        row = _row(path + name, inner, given)
        yield row
        yield from _rows(inner, given, f"{row.name}.")
        outputs.append(row.output)


def _row(name: str, layer: Layer, shape: InputShape | None) -> Row:
    if shape is None:
        return Row(name, brief(layer))
    layout = Layout(layer, shape)
    trainable, fixed = (
        sum(math.prod(entry.parameter.shape) for entry in entries) for entries in (layout.parameters, layout.buffers)
    )
    return Row(name, brief(layer), layout.out_shape, trainable + fixed, trainable)


def _memory(model: BaseModel, shape: InputShape | None, whole: Row) -> dict[str, int]:
    if shape is None or whole.parameters is None or whole.trainable is None:
        return {}
    itemsize = np.dtype(model.backend.dtype_name).itemsize
    return {
        "weights": itemsize * whole.parameters,
        "gradients": itemsize * whole.trainable,
        "optimizer": itemsize * _remembered(model, shape, whole.trainable),
    }


def _remembered(model: BaseModel, shape: InputShape, trainable: int) -> int:
    """How many numbers the optimizer state has, without those that it keeps once for all parameters."""
    optimizer = model.optimizer
    if optimizer.elementwise:
        per_number: int = sum(slot.ndim for slot in optimizer.init(np, np.zeros(1)).values())
        return trainable * per_number
    shapes = [shape for of in slot_shapes(Layout(model.network, shape), optimizer).values() for shape in of.values()]
    return sum(map(math.prod, shapes))


def _made_of(model: BaseModel) -> str:
    backend = model.backend
    return f"{brief(model.loss)}, {brief(model.optimizer)}, {backend.name} on {backend.device}, {backend.dtype_name}"


def _cells(row: Row) -> tuple[str, ...]:
    counts = ("?" if count is None else f"{count:,}" for count in (row.parameters, row.trainable))
    return row.name, row.layer, "?" if row.output is None else str(row.output), *counts


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    aligned = (
        cell.rjust(width) if heading in NUMBERS else cell.ljust(width)
        for heading, cell, width in zip(HEADINGS, cells, widths, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _html_row(cells: tuple[str, ...]) -> str:
    sides = ("right" if heading in NUMBERS else "left" for heading in HEADINGS)
    kind = "th" if cells is HEADINGS else "td"
    return (
        "<tr>"
        + "".join(
            f'<{kind} style="text-align: {side}">{html.escape(cell)}</{kind}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        + "</tr>"
    )
