"""CSV files with a header, read row by row into numbers, so that a table takes no more memory than its arrays."""

from __future__ import annotations

import csv
import io
import math
import reprlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from anynet.datasets.dataset import Dataset
from anynet.datasets.reading import check_limit, reading
from anynet.errors import DataError, unknown

MOST_CLASSES = 1000
MOST_NUMBERED_CLASSES = 20
MOST_COLUMNS = 100_000
LONGEST_ROW = 4 << 20


def read_csv(
    path: str | Path,
    target: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    max_classes: int | None = None,
) -> Dataset:
    """Read a table whose first line names its columns.

    The target column holds values to predict if all its cells are numbers, and either one has a fraction or more than
    `max_classes` of them are different. Otherwise it names classes, which are numbered in the sorted order of names.

    Parameters
    ----------
    path : str or Path
    target : str, optional
        The column to predict; without it there is no y.
    features : sequence of str, optional
        The columns of x, in this order; all but the target if left out.
    classes : sequence of str, optional
        The class names in the order of their numbers, if they are known; empty if the target holds values.
    max_classes : int, optional
        How many classes the target may name; by default 1,000, but 20 if all of them are numbers.

    Raises
    ------
    DataError
        When the file is missing or empty, a row has too few or too many cells, a column is unknown, a feature is not a
        finite number, or the target names more classes than it may.
    UsageError
        When `max_classes` is not a whole number, 1 or more.
    """
    check_limit("max_classes", max_classes)
    path = Path(path)
    with reading(path, "CSV file") as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = _rows(path, text)
        header = _header(path, rows)
        names = _feature_names(path, header, target, features)
        columns = [header[name] for name in names]
        labels = None if target is None else _Target(target, header[target], classes, max_classes)
        x = array("d")
        for line, cells in rows:
            try:
                if len(cells) != len(header):
                    raise DataError(f"expected {len(header)} columns, but found {len(cells)}")
                x.extend(_numbers([cells[column] for column in columns], names))
                if labels:
                    labels.add(line, cells)
            except DataError as error:
                raise DataError(f"{path}, line {line}: {error}") from None
    if not x:
        raise DataError(f"{path} is empty: there is no line after the one that names its columns")
    if labels and labels.misspelt:
        raise DataError(f"{path}, {labels.misspelt}")
    y, found = labels.finish() if labels else (None, None)
    return Dataset(path.stem, np.frombuffer(x).reshape(-1, len(names)), y, classes=found, features=tuple(names))


def _rows(path: Path, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of the line it starts on."""
    line, length = 1, 0

    def lines() -> Iterator[str]:
        nonlocal length
        while part := text.readline(LONGEST_ROW + 1):
            length += len(part)
            if length > LONGEST_ROW:
                most = f"a row may have {LONGEST_ROW:,} characters at most"
                raise DataError(f"{path}, line {line}: {most}; give wider data as a .npy file")
            yield part

    reader = csv.reader(lines(), strict=True)
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line, length = reader.line_num + 1, 0
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: {error}") from None


def _header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> dict[str, int]:
    """The position of each column, by name."""
    _, cells = next(rows, (0, []))
    if not cells:
        raise DataError(f"{path} is empty")
    if len(cells) > MOST_COLUMNS:
        many = f"has {len(cells):,} columns, but a table may have {MOST_COLUMNS:,} at most"
        raise DataError(f"{path} {many}; give wider data as a .npy file")
    header: dict[str, int] = {}
    for position, name in enumerate(map(_on_one_line, cells)):
        if not name:
            raise DataError(f"{path}: column {position + 1} has no name")
        if name in header:
            raise DataError(f"{path} names two columns {reprlib.repr(name)}")
        header[name] = position
    return header


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _feature_names(path: Path, header: dict[str, int], target: str | None, features: Sequence[str] | None) -> list[str]:
    names = [column for column in header if column != target] if features is None else list(features)
    for column in (*names, *([] if target is None else [target])):
        if column not in header:
            raise DataError(f"{path}: {unknown('column', column, header)}")
    if target in names:
        raise DataError(f"{path}: column {target!r} cannot be both a feature and the target")
    if not names:
        raise DataError(f"{path} leaves no column for x" + ("" if target is None else f" beside the target {target!r}"))
    return names


class _Target:
    """The target column while it is read: it names classes until a number shows that it holds values."""

    def __init__(self, name: str, column: int, classes: Sequence[str] | None, max_classes: int | None) -> None:
        self.name = name
        self.column = column
        self.most, self.most_numbered = max_classes or MOST_CLASSES, max_classes or MOST_NUMBERED_CLASSES
        self.closed = classes is not None
        self.classes = {text: number for number, text in enumerate(classes or ())}
        self.labels = array("i")
        self.values = array("d") if self.closed and not self.classes else None
        self.numbers: dict[float, str] = {}
        self.first_word = ""
        self.misspelt = ""

    def add(self, line: int, cells: list[str]) -> None:
        text = _on_one_line(cells[self.column])
        if self.values is None and text not in self.classes:
            self._meet(line, text)
        if self.values is None:
            self.labels.append(self.classes[text])
        else:
            self.values.extend(_numbers([text], [self.name]))

    def _meet(self, line: int, text: str) -> None:
        """Take a text that is new: it is one more class, or it shows that the column holds values instead."""
        if self.closed:
            raise DataError(unknown("class", text[:40], self.classes))
        number = _number(text)
        if not text or (number is not None and not math.isfinite(number)):
            raise DataError(
                f"column {self.name!r}: expected a class or a finite number, but found {reprlib.repr(text)}"
            )
        if number is None:
            self.first_word = self.first_word or f"line {line} has {reprlib.repr(text)}"
        elif number in self.numbers:
            twice = f"class {reprlib.repr(self.numbers[number])} is also written {reprlib.repr(text)}"
            self.misspelt = self.misspelt or f"line {line}: column {self.name!r}: {twice}"
        else:
            self.numbers[number] = text
        if (number is None or number.is_integer()) and len(self.numbers) <= self.most_numbered:
            self.classes[text] = len(self.classes)
            if len(self.classes) > self.most:
                many = f"names more than {self.most:,} classes, as if each row had its own name"
                raise DataError(
                    f"column {self.name!r} {many}; predict another column, or allow more with max_classes "
                    f"(--max-classes N)"
                )
        elif self.first_word:
            raise DataError(f"column {self.name!r} holds values to predict, but {self.first_word}")
        else:
            numbers = list(map(float, self.classes))
            self.values = array("d", [numbers[label] for label in self.labels])
            self.misspelt = ""

    def finish(self) -> tuple[Any, tuple[str, ...] | None]:
        """y, and the names of its classes if it has any."""
        if self.values is not None:
            return np.frombuffer(self.values), None
        names = list(self.classes)
        if not self.closed:
            names.sort(key=None if self.first_word else float)
        places = {text: place for place, text in enumerate(names)}
        order = np.asarray([places[text] for text in self.classes], dtype=np.int32)
        return order[np.frombuffer(self.labels, dtype=np.intc)], tuple(names)


def _numbers(texts: list[str], names: Sequence[str]) -> list[float]:
    try:
        numbers = list(map(float, texts))
    except ValueError:
        numbers = []
    # Python reads 1_000 as a number, but a table more likely means a name.
    if numbers and all(map(math.isfinite, numbers)) and "_" not in "".join(texts):
        return numbers
    for name, text in zip(names, texts, strict=True):
        number = _number(text)
        if number is None or not math.isfinite(number):
            raise DataError(f"column {name!r}: expected a finite number, but found {reprlib.repr(text)}")
    return numbers


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None
