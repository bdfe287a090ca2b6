"""What reading a file promises: the right numbers, or one line that says what is wrong with which file."""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import numpy as np
import pytest
from datasets.made_files import (
    GOOD,
    IDX,
    IDX_TYPES,
    MOST,
    NPY,
    SAMPLE,
    complaint,
    idx,
    npy,
    npy_header,
    npz,
    twice,
    written,
)
from hypothesis import given, settings

from anynet.datasets import load, read_idx
from anynet.errors import ShapeError

pytestmark = pytest.mark.host


def arrays(kind: str) -> st.SearchStrategy[Any]:
    finite = {"allow_nan": False, "allow_infinity": False} if kind[0] == "f" else None
    return arrays_of.arrays(kind, arrays_of.array_shapes(max_dims=4, max_side=4), elements=finite)


@settings(max_examples=60, deadline=None)
@given(array=st.sampled_from(sorted(IDX_TYPES)).flatmap(arrays), pack=st.sampled_from([bytes, gzip.compress]))
def test_idx_of_every_type_comes_back_as_it_was_written(folder: Path, array: Any, pack: Callable[..., bytes]) -> None:
    big_endian = array.astype(array.dtype.newbyteorder(">")).tobytes()
    found = read_idx(written(folder, "array", pack(idx(array.dtype.str[1:], array.shape, big_endian))))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@settings(max_examples=60, deadline=None)
@given(array=st.sampled_from([*sorted(IDX_TYPES), "?", "u8", "f2"]).flatmap(arrays), order=st.sampled_from("CF"))
def test_npy_and_npz_come_back_as_they_were_written(folder: Path, array: Any, order: Any) -> None:
    foreign = npy(np.asarray(array, array.dtype.newbyteorder(">"), order=order))
    alone = load(written(folder, "x.npy", foreign))
    paired = load(written(folder, "xy.npz", npz(x=foreign, y=array, x_test=array[:1], y_test=array[:1])))
    for found in (alone.x, paired.x, paired.y):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    np.testing.assert_array_equal(paired.x_test, paired.y_test)


def test_two_files_joined_by_a_comma_are_x_and_y(tmp_path: Path) -> None:
    x, y = written(tmp_path, "train-images.gz", GOOD["x.gz"]), written(tmp_path, "y.npy", npy(np.asarray([3, 4])))
    data = load(f"{x},{y}")
    assert (data.name, data.x.tolist(), data.y.tolist()) == ("train-images", SAMPLE.tolist(), [3, 4])


def test_arrays_of_an_npz_that_nobody_asked_for_are_left_alone(tmp_path: Path) -> None:
    names = np.asarray([{"pickled": True}], dtype=object)
    assert load(written(tmp_path, "x.npz", npz(x=SAMPLE, names=names))).x.tolist() == SAMPLE.tolist()


@pytest.mark.parametrize("name", GOOD)
def test_an_array_that_was_read_may_be_changed(tmp_path: Path, name: str) -> None:
    load(written(tmp_path, name, GOOD[name]), "y" if name == "x.csv" else None).x[0] = 0


SHORT = "FILE is truncated: it is too short for its shape "
LONG = "FILE is damaged: it is too long for its shape (2, 3) of uint8"
NO_IDX = "FILE is no IDX file: it starts with "
NO_GZIP = "FILE is damaged or no IDX file: Error -3 while decompressing data: "
NO_ZIP = "FILE is damaged or no .npz file: "
NO_FINITE = "in row 1: every value must be a finite number"
DAMAGED = [
    ("x.idx", b"", "FILE is empty"),
    ("x.npz", b"", "FILE is empty"),
    ("x.idx", b"PNG!\0\0", NO_IDX + "'50 4e 47 21', not with 00 00 and a type byte"),
    ("x.idx", b"\0\0\x0a\1\0\0\0\1\0", NO_IDX + "'00 00 0a 01', not with 00 00 and a type byte"),
    ("x.idx", IDX[:9], "FILE is truncated: it ends within its header"),
    ("x.idx", IDX[:-1], SHORT + "(2, 3) of uint8"),
    ("x.idx", IDX + b"\0", LONG),
    ("x.idx", idx("u1", (), b"7"), "FILE holds no samples: its shape is () of uint8"),
    ("x.idx", idx("u1", (0, 3)), "FILE holds no samples: its shape is (0, 3) of uint8"),
    ("x.idx", idx("f8", (MOST, MOST, 0)), "FILE holds no samples: its shape is (4294967295, 4294967295, 0) of float64"),
    ("x.idx", idx("f8", (MOST, MOST)), SHORT + "(4294967295, 4294967295) of float64"),
    ("x.gz", gzip.compress(idx("u1", (MOST, MOST), bytes(99))), SHORT + "(4294967295, 4294967295) of uint8"),
    ("x.idx", idx("u1", (1,) * 255, b"7"), "FILE is damaged or no IDX file: maximum supported dimension"),
    ("x.idx", idx("u1", (2,) * 255), SHORT + "(2, 2, 2, 2, 2, 2, ...) of uint8"),
    ("x.gz", GOOD["x.gz"][:-9], "FILE is damaged or no IDX file: Compressed file ended before the end-of-stream"),
    ("x.gz", GOOD["x.gz"][:-8] + bytes(8), NO_GZIP + "incorrect data check"),
    ("x.gz", GOOD["x.gz"] + b"garbage", "FILE is damaged or no IDX file: Error -3 while decompressing data: incorrect"),
    ("x.gz", gzip.compress(b"") * 2, "FILE is damaged or no IDX file: a gzip member holds nothing"),
    ("x.idx", idx("f8", (2,), struct.pack(">2d", 1, math.nan)), f"FILE: x holds nan {NO_FINITE}"),
    ("x.npy", b"PK\3\4 is a zip", "FILE is damaged or no .npy file: the magic string is not correct"),
    ("x.npy", NPY[:-1], SHORT + "(2, 3) of uint8"),
    ("x.npy", NPY + b"\0", LONG),
    ("x.npy", NPY[:20], "FILE is damaged or no .npy file: EOF: reading array header"),
    ("x.npy", npy_header("(" * 99), "FILE is damaged or no .npy file: ("),
    ("x.npy", npy_header("", version=b"\3\0"), "FILE has .npy version 3.0, but arrays of numbers have 1.0 or 2.0"),
    ("x.npy", npy(np.asarray([{}])), "FILE must hold numbers, but its dtype is object"),
    ("x.npy", npy(np.asarray(["a"])), "FILE must hold numbers, but its dtype is <U1"),
    ("x.npy", npy(np.asarray([1j])), "FILE must hold numbers, but its dtype is complex128"),
    ("x.npy", npy(np.asarray(7.0)), "FILE holds no samples: its shape is () of float64"),
    ("x.npy", npy(np.asarray([0, -math.inf])), f"FILE: x holds -inf {NO_FINITE}"),
    ("x.npz", b"text", NO_ZIP + "File is not a zip file"),
    ("x.npz", GOOD["x.npz"][:-30], NO_ZIP + "File is not a zip file"),
    ("x.npz", npz(a=SAMPLE), "FILE should hold an array x (and perhaps y, x_test, y_test), but holds a"),
    ("x.npz", npz(suffix="", x=NPY), "FILE should hold an array x (and perhaps y, x_test, y_test), but holds nothing"),
    ("x.npz", npz(x=NPY[:-1]), "FILE: x is truncated: it is too short for its shape (2, 3) of uint8"),
    ("x.npz", npz(x=NPY + b"\0"), "FILE: x is damaged: it is too long for its shape (2, 3) of uint8"),
    ("x.npz", npz(x=np.asarray([{}])), "FILE: x must hold numbers, but its dtype is object"),
    ("x.npz", npz(x=SAMPLE, y=np.asarray(["a", "b"])), "FILE: y must hold numbers, but its dtype is <U1"),
    ("x.npz", npz(x=SAMPLE, y=np.asarray([0, math.nan])), f"FILE: y holds nan {NO_FINITE}"),
    ("x.npz", npz(x=SAMPLE, y=np.zeros(3)), "FILE: x has 2 rows, but y has 3"),
    ("x.npz", npz(x=SAMPLE, y=SAMPLE, x_test=SAMPLE), "FILE holds y but no y_test"),
    ("x.npz", npz(x=SAMPLE, y=SAMPLE, y_test=SAMPLE), "FILE holds x but no x_test"),
    ("x.npz", twice("x", NPY), "FILE holds 2 arrays x"),
    ("x.npz", npz(x=SAMPLE, x_test=SAMPLE.T), "FILE: each row of x has shape (3,), but of x_test (2,)"),
    ("x.npz", npz(x=SAMPLE, y=SAMPLE, x_test=SAMPLE, y_test=SAMPLE[:1]), "FILE: x_test has 2 rows, but y_test has 1"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), [pytest.param(*case, id=f"{case[2]}") for case in DAMAGED])
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    found = complaint(written(tmp_path, name, content))
    assert found.startswith(message)
    assert "\n" not in found


SOURCES = [
    (
        "minst",
        "unknown dataset 'FILE': did you mean 'mnist'? (known: mnist, circles); or the path of a .csv, .npz",
    ),
    ("missing.csv", "cannot read FILE: No such file or directory"),
    ("missing.npz", "cannot read FILE: No such file or directory"),
    ("./missing", "cannot read missing: No such file or directory"),
    ("missing.npy,labels.idx", "cannot read missing.npy: No such file or directory"),
    ("nul\0.npy", "FILE is damaged or no .npy file: embedded null byte"),
    ("a,b,c", "expected a file, or two as X,Y, but got 'FILE'"),
    ("x.npy,", "expected a file, or two as X,Y, but got 'FILE'"),
    ("x" * 300, "unknown dataset 'FILE' (known: mnist, circles)"),
]


@pytest.mark.parametrize(("source", "message"), SOURCES)
def test_data_that_is_not_there_is_refused(source: str, message: str) -> None:
    assert complaint(source).startswith(message)


def test_rows_that_do_not_fit_are_a_matter_of_shapes(tmp_path: Path) -> None:
    with pytest.raises(ShapeError):
        load(written(tmp_path, "x.npz", npz(x=SAMPLE, y=np.zeros(3))))


def test_only_a_table_has_a_target_column() -> None:
    assert complaint("circles", "y") == "a target names a column of a CSV file, but FILE is none"


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(sorted(GOOD)), data=st.data())
def test_any_bytes_give_data_or_one_line(folder: Path, name: str, data: st.DataObject) -> None:
    content = bytearray(GOOD[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3), "places"):
        content[place] = data.draw(st.integers(0, 255), "byte")
    end = data.draw(st.integers(0, len(content)), "end")
    path = written(folder, name, bytes(content[:end]) + data.draw(st.binary(max_size=8), "tail"))
    assert re.fullmatch("|.*FILE.*", complaint(path))


def test_a_damaged_member_of_a_zip_is_refused(tmp_path: Path) -> None:
    content = npz(x=np.random.default_rng(0).integers(0, 9, 200))
    for place in range(60, len(content) // 2, 7):
        damaged = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        assert complaint(written(tmp_path, "x.npz", damaged)).startswith(NO_ZIP)


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_python_would_unpack_whole_is_refused(tmp_path: Path, compression: int) -> None:
    message = "FILE: x is packed as .npz files are not; save it with numpy.savez_compressed"
    assert complaint(written(tmp_path, "x.npz", npz(compression, x=SAMPLE))) == message


def no_files(folder: Path, suffix: str) -> dict[str, Path]:
    paths = {kind: folder / f"{kind}{suffix}" for kind in ("pipe", "device", "link to itself", "folder")}
    os.mkfifo(paths["pipe"])
    paths["device"].symlink_to("/dev/zero")
    paths["link to itself"].symlink_to(paths["link to itself"])
    paths["folder"].mkdir()
    return paths


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".idx"])
def test_only_files_are_read_and_nothing_is_waited_for(tmp_path: Path, suffix: str) -> None:
    endless = "cannot read FILE: it is no file, but a pipe or a device"
    reasons = [
        endless,
        endless,
        "cannot read FILE: Too many levels of symbolic links",
        "cannot read FILE: Is a directory"
        if suffix == ".csv"
        else "FILE holds no images, and no folders of images, named .png, .jpg, .jpeg",
    ]
    paths = no_files(tmp_path, suffix).values()
    assert [complaint(path, "y" if suffix == ".csv" else None) for path in paths] == reasons


def test_a_file_that_changes_between_two_looks_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = written(tmp_path, "x.npy", NPY), written(tmp_path, "y.npy", npy(np.zeros(3)))
    monkeypatch.setattr("anynet.datasets.files._shape_of", lambda *_: (2,))
    assert complaint(f"{x},{y}") == "FILE: x has 2 rows, but y has 3"
