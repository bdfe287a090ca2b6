"""CSV files with a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anynet.datasets.dataset import Dataset
from anynet.errors import DataError, unknown


def read_csv(
    path: str | Path,
    target: str | None = None,
    *,
    features: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """A table whose first line names its columns.

    A target column that is all numbers with a fraction or more than 20 different whole numbers is a value to
    predict; otherwise it names classes, and class numbers follow the sorted names.

    Parameters
    ----------
    path : str or Path
    target : str, optional
        The column to predict; without it there is no y.
    features : sequence of str, optional
        The columns of x, in this order; all but the target if left out.
    classes : sequence of str, optional
        The known class names; empty if the target is a value.

    Raises
    ------
    DataError
        When the file is missing or empty, a row is ragged, a column unknown, or a feature is no finite number.
    """
    path = Path(path)
    header, rows = _read_rows(path)
    for column in (*(features or ()), *([target] if target is not None else [])):
        if column not in header:
            raise DataError(f"{path}: {unknown('column', column, header)}")
    names = list(features) if features is not None else [column for column in header if column != target]
    if not names:
        raise DataError(f"{path} has no column but the target {target!r}")
    x = np.stack([_numbers(path, rows, header, name) for name in names], axis=1)
    if target is None:
        return Dataset(path.stem, x, features=tuple(names))
    texts = [cells[header.index(target)].strip() for _, cells in rows]
    if classes is None:
        classes = _class_names(texts)
    if not classes:
        return Dataset(path.stem, x, _numbers(path, rows, header, target), features=tuple(names))
    y = _class_numbers(path, rows, texts, classes)
    return Dataset(path.stem, x, y, classes=tuple(classes), features=tuple(names))


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no CSV file: {error}") from None
    if len(lines) < 2:
        raise DataError(f"{path} is empty: expected a line of column names and one line for each sample")
    header = [cell.strip() for cell in lines[0][1]]
    if len(set(header)) < len(header):
        raise DataError(f"{path} names a column twice: {', '.join(header)}")
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise DataError(f"{path}, line {number}: expected {len(header)} columns, but found {len(cells)}")
    return header, lines[1:]


def _numbers(path: Path, rows: list[tuple[int, list[str]]], header: list[str], name: str) -> Any:
    column = header.index(name)
    try:
        values = np.asarray([cells[column] for _, cells in rows], dtype=object).astype(np.float64)
    except ValueError:
        values = np.asarray([_number_or_nan(cells[column]) for _, cells in rows])
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        number, cells = rows[bad[0]]
        raise DataError(f"{path}, line {number}, column {name!r}: expected a finite number, but found {cells[column]!r}")
    return values


def _number_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _class_names(texts: list[str]) -> list[str]:
    """The different texts in order, numbers by size; none if they are values to predict."""
    different = set(texts)
    numbers = {text: _number_or_nan(text) for text in different}
    if any(np.isnan(number) for number in numbers.values()):
        return sorted(different)
    if len(different) > 20 or any(number != int(number) for number in numbers.values() if np.isfinite(number)):
        return []
    return sorted(different, key=lambda text: numbers[text])


def _class_numbers(path: Path, rows: list[tuple[int, list[str]]], texts: list[str], classes: Sequence[str]) -> Any:
    known = {name: i for i, name in enumerate(classes)}
    for (number, _), text in zip(rows, texts, strict=True):
        if text not in known:
            raise DataError(f"{path}, line {number}: {unknown('class', text, classes)}")
    return np.asarray([known[text] for text in texts], dtype=np.int32)
