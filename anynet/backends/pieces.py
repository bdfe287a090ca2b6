"""Calls noted down, and made a few rows at a time where a whole array would leave the cache between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

Call: TypeAlias = Callable[[], Any]

# What a core's second cache holds of each of an operation's operands, with room for four.
PIECE_BYTES = 96 << 10


@dataclass(frozen=True)
class Note:
    """One call: ``function(*inputs, out=out, **options)``; `elementwise` if it may as well be made row by row."""

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    out: Any
    options: dict[str, Any] = field(default_factory=dict)
    elementwise: bool = False
    multiplications: int = 0

    @property
    def call(self) -> Call:
        return partial(self.function, *self.inputs, out=self.out, **self.options)

    @property
    def is_large(self) -> bool:
        """Whether it may go a few rows at a time and, at four bytes a number, would fill the cache if it did not."""
        return self.elementwise and self.out.ndim > 0 and 4 * self.out.size >= 2 * PIECE_BYTES

    def goes_by_rows(self, x: Any) -> bool:
        return isinstance(x, np.ndarray) and x.ndim == self.out.ndim and len(x) == len(self.out)

    def of_rows(self, rows: slice) -> Note:
        inputs = tuple(x[rows] if self.goes_by_rows(x) else x for x in self.inputs)
        return Note(self.function, inputs, self.out[rows], self.options, True)


def in_pieces(notes: list[Note]) -> Iterator[Note]:
    """The same notes; runs of elementwise ones on large arrays go a few rows at a time, to stay in the cache."""
    run: list[Note] = []
    for note in notes:
        if not _joins(run, note):
            yield from _cut(run)
            run = []
        run.append(note)
    yield from _cut(run)


def _joins(run: list[Note], note: Note) -> bool:
    """Whether row by row each note of the longer run would still read what it reads now."""
    if not run:
        return True
    if not (run[0].is_large and note.is_large and len(run[0].out) == len(note.out)):
        return False
    return all(_apart_or_alongside(one, other) for one in (*run, note) for other in (*run, note))


def _apart_or_alongside(reader: Note, writer: Note) -> bool:
    """Whether each thing that one note touches is out of the other's way, or goes by the same rows."""
    touched = [x for x in (*reader.inputs, reader.out) if isinstance(x, np.ndarray)]
    return all(
        not np.may_share_memory(x, writer.out) or (_same(x, writer.out) and reader.goes_by_rows(x)) for x in touched
    )


def _same(x: Any, y: Any) -> bool:
    return bool(x.ctypes.data == y.ctypes.data and x.shape == y.shape and x.strides == y.strides)


def _cut(run: list[Note]) -> Iterator[Note]:
    if len(run) < 2:
        yield from run
        return
    rows = len(run[0].out)
    pieces = min(rows, -(-max(note.out.nbytes for note in run) // PIECE_BYTES))
    for start, stop in pairwise(rows * i // pieces for i in range(pieces + 1)):
        yield from (note.of_rows(slice(start, stop)) for note in run)
