"""Tables of numbers and names: what they are taken for, and which line and column is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from datasets.made_files import complaint, written
from hypothesis import given, settings

from anynet.datasets import load, read_csv

pytestmark = pytest.mark.host

TABLES = {
    "byte order mark and CRLF": ("\ufeffa,b,y\r\n1,2,cat\r\n3,4,ant\r\n", ("ant", "cat"), [1, 0]),
    "quotes and blank lines": ('\n"a", b ,y\n\n"1",2,"c,a""t"\n3,4,ant', ("ant", 'c,a"t'), [1, 0]),
    "lines within quotes": ('a,b,"y"\n"1\n",2,"big\ncat"\n3,4,ant\n', ("ant", "big cat"), [1, 0]),
    "CR alone": ("a,b,y\r1,2,1\r3,4,0\r", ("0", "1"), [1, 0]),
    "class numbers by size": ("a,b,y\n1,2,10\n3,4,9\n", ("9", "10"), [1, 0]),
    "class numbers among names": ("a,b,y\n1,2,x\n3,4,9\n", ("9", "x"), [1, 0]),
    "values to predict": ("a,b,y\n1,2,1.0\n3,4,-2.5\n", None, [1, -2.5]),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_gives_numbers_and_classes_or_values(tmp_path: Path, kind: str) -> None:
    text, classes, y = TABLES[kind]
    data = load(written(tmp_path, "table.csv", text), "y")
    assert (data.name, data.features, data.classes) == ("table", ("a", "b"), classes)
    assert (data.x.tolist(), data.y.tolist()) == ([[1, 2], [3, 4]], y)
    assert data.y.dtype == (np.float64 if classes is None else np.int32)


@pytest.mark.parametrize(("different", "is_class"), [(20, True), (21, False)])
def test_more_than_20_different_whole_numbers_are_values(tmp_path: Path, different: int, is_class: bool) -> None:
    rows = "".join(f"0,{i % different}\n" for i in range(50))
    data = load(written(tmp_path, "table.csv", "a,y\n" + rows), "y")
    assert data.y.tolist() == [i % different for i in range(50)]
    assert (data.classes is not None) == is_class


def test_max_classes_is_how_many_classes_a_table_may_name(tmp_path: Path) -> None:
    numbers = written(tmp_path, "numbers.csv", "a,y\n" + "".join(f"0,{i % 26}\n" for i in range(50)))
    names = written(tmp_path, "names.csv", "a,y\n" + "".join(f"0,n{i % 26}\n" for i in range(50)))
    for path in (numbers, names):
        assert len(load(path, "y", max_classes=26).classes or ()) == 26
    assert load(numbers, "y", max_classes=25).classes is None
    assert complaint(names, "y", max_classes=25) == (
        "FILE, line 27: column 'y' names more than 25 classes, as if each row had its own name; "
        "predict another column, or allow more with max_classes (--max-classes N)"
    )


def test_a_name_for_each_row_is_refused_as_soon_as_it_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path, "table.csv", "a,y\n" + "".join(f"0,n{i}\n" for i in range(1001)) + "not a number,n\n")
    assert complaint(path, "y").startswith("FILE, line 1002: column 'y' names more than 1,000 classes")
    assert complaint(path, "y", max_classes=1001).startswith("FILE, line 1003: column 'a'")
    assert complaint(path, "y", classes=[f"n{i}" for i in range(1001)]).startswith("FILE, line 1003: column 'a'")


def test_a_value_may_be_written_in_two_ways(tmp_path: Path) -> None:
    assert load(written(tmp_path, "table.csv", "a,y\n0,1\n0,1.0\n0,2.5\n"), "y").y.tolist() == [1, 1, 2.5]


TABLE = "a,b,y\n1,2,1\n3,4,0\n"


def test_a_table_whose_meaning_is_known_is_read_so(tmp_path: Path) -> None:
    path = written(tmp_path, "table.csv", TABLE)
    assert read_csv(path, features=["y", "a"]).x.tolist() == [[1, 1], [0, 3]]
    assert read_csv(path, "y", classes=["1", "0"]).y.tolist() == [0, 1]
    assert read_csv(path, "y", classes=[]).y.tolist() == [1.0, 0.0]
    assert complaint(path, "y", classes=["1", "2"]) == "FILE, line 3: unknown class '0' (known: 1, 2)"


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1))
def test_every_number_of_a_table_is_read_exactly(folder: Path, rows: list[list[float]]) -> None:
    text = "a,b,c\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows)
    np.testing.assert_array_equal(load(written(folder, "table.csv", text)).x, rows)


NUMBER, CLASS = ": expected a finite number, but found", ": expected a class or a finite number, but found"
LONG_ROW = "a row may have 4,194,304 characters at most; give wider data as a .npy file"
WRONG_TABLES = [
    ("\n\n", "FILE is empty"),
    ("a,y\n", "FILE is empty: there is no line after the one that names its columns"),
    (",y\n1,2\n", "FILE: column 1 has no name"),
    ("a,b, a\n1,2,3\n", "FILE names two columns 'a'"),
    ("y\n1\n", "FILE leaves no column for x beside the target 'y'"),
    ("a,Y\n1,2\n", "FILE: unknown column 'y' (known: a, Y)"),
    ("a,y\n1,0\n2\n", "FILE, line 3: expected 2 columns, but found 1"),
    ('a,y\n"1\n",0\n\n"2\n\n",1,3\n', "FILE, line 5: expected 2 columns, but found 3"),
    ('a,y\n1,"b\n"\n"2\n3",b\n', f"FILE, line 4: column 'a'{NUMBER} '2\\n3'"),
    ("a,y\n1,0\nred,1\n", f"FILE, line 3: column 'a'{NUMBER} 'red'"),
    ("a,y\n,0\n", f"FILE, line 2: column 'a'{NUMBER} ''"),
    ("a,y\nnan,0\n", f"FILE, line 2: column 'a'{NUMBER} 'nan'"),
    ("a,y\n1e999,0\n", f"FILE, line 2: column 'a'{NUMBER} '1e999'"),
    ("a,y\n1_0,0\n", f"FILE, line 2: column 'a'{NUMBER} '1_0'"),
    (f"a,y\n{'x' * 9999},0\n", f"FILE, line 2: column 'a'{NUMBER} 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
    ("a,y\n1,\n", f"FILE, line 2: column 'y'{CLASS} ''"),
    ("a,y\n1,2\n2,nan\n", f"FILE, line 3: column 'y'{CLASS} 'nan'"),
    ("a,y\n1,2.5\n2,n/a\n", f"FILE, line 3: column 'y'{NUMBER} 'n/a'"),
    ("a,y\n1,n/a\n2,2.5\n", "FILE, line 3: column 'y' holds values to predict, but line 2 has 'n/a'"),
    ("a,y\n1,1\n2,1.0\n", "FILE, line 3: column 'y': class '1' is also written '1.0'"),
    ('a,y\n1,0\n"2,1\n3,1\n', "FILE, line 3: unexpected end of data"),
    ('a,y\n"1"2,0\n', "FILE, line 2: ',' expected after '\"'"),
    (f'a,y\n"{"x" * 200_000}",0\n', "FILE, line 2: field larger than field limit (131072)"),
    ("a,y\n" + "1," * (3 << 20), f"FILE, line 2: {LONG_ROW}"),
    ('a,y\n"\n' + '","\n' * (2 << 20), f"FILE, line 2: {LONG_ROW}"),
    (",".join(map(str, range(100_001))), "FILE has 100,001 columns, but a table may have 100,000 at most; give wider"),
    (b"a,y\n\xe9,0\n", "FILE is damaged or no CSV file: 'utf-8' codec can't decode byte 0xe9 in position 4:"),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(*case, id=case[1]) for case in WRONG_TABLES])
def test_a_wrong_table_is_refused_by_line_and_column(tmp_path: Path, text: Any, message: str) -> None:
    found = complaint(written(tmp_path, "table.csv", text), "y")
    assert found.startswith(message)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("target", "features", "message"),
    [
        ("aple", None, "FILE: unknown column 'aple': did you mean 'apple'? (known: apple, y)"),
        ("y", ["aple"], "FILE: unknown column 'aple': did you mean 'apple'? (known: apple, y)"),
        ("y", ["apple", "y"], "FILE: column 'y' cannot be both a feature and the target"),
        (None, [], "FILE leaves no column for x"),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path: Path, target: Any, features: Any, message: str) -> None:
    assert complaint(written(tmp_path, "table.csv", "apple,y\n1,2\n"), target, features=features) == message
