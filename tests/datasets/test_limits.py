"""However much a file claims to hold, reading it takes no more memory than it should."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets.made_files import IDX, MOST, NPY, SAMPLE, complaint, idx, npy, npy_header, npz, peak, twice, written

from anynet.datasets import load, read_csv, read_idx
from anynet.errors import UsageError

pytestmark = pytest.mark.host

BOMB = bytes(16 << 20)
BOMB_ARRAY = np.zeros((16 << 20, 1), np.uint8)
NOISE = np.random.default_rng(0).bytes(3 << 20)
HUGE = npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n")
LARGE = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (3000000000,)}\n")
CLAIMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "an IDX header that claims 2^63 bytes": ("x.idx", lambda: idx("f8", (2**31, 2**29))),
    "a .npy header that claims 8 terabytes": ("x.npy", lambda: HUGE),
    "a .npz member that claims 8 terabytes": ("x.npz", lambda: npz(x=HUGE)),
    "a gzip bomb": ("x.gz", lambda: gzip.compress(BOMB, 1)),
    "a gzip bomb behind an image": ("x.gz", lambda: gzip.compress(IDX + BOMB, 1)),
    "a gzip bomb that claims still more": ("x.gz", lambda: gzip.compress(idx("u1", (MOST, MOST)) + BOMB, 1)),
    "a zip bomb behind an array": ("x.npz", lambda: npz(x=NPY + BOMB)),
    "a zip bomb that nobody asked for": ("x.npz", lambda: npz(junk=BOMB)),
    "a .npz member that is said to hold 8 terabytes": (
        "x.npz",
        lambda: npz(x=HUGE, sizes={"x": 8 * 10**12 + len(HUGE)}),
    ),
    "a member as it is that is said to hold 8 terabytes": (
        "x.npz",
        lambda: npz(zipfile.ZIP_STORED, x=HUGE, sizes={"x": 8 * 10**12 + len(HUGE)}),
    ),
    "a gzip file that may hold 2 gigabytes": ("x.gz", lambda: gzip.compress(idx("u1", (2**31,)) + NOISE)),
    "a zip whose rows do not fit": ("x.npz", lambda: npz(x=BOMB_ARRAY, y=SAMPLE)),
    "a zip whose test rows do not fit": ("x.npz", lambda: npz(x=BOMB_ARRAY, x_test=SAMPLE)),
    "a zip of too many members": ("x.npz", lambda: npz(**{"x" * 60_000 + str(i): b"" for i in range(70)})),
    "a zip of one array twice": ("x.npz", lambda: twice("x", NPY)),
    "a .npy header of 100 megabytes": ("x.npy", lambda: npy_header("{" + " " * (8 << 20), version=b"\2\0")),
    "a .npy header that is nested": ("x.npy", lambda: npy_header("-" * 9000 + "1")),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_takes_no_memory(tmp_path: Path, claim: str) -> None:
    name, content = CLAIMS[claim]
    path = written(tmp_path, name, content())
    assert complaint(path)
    assert peak(lambda: complaint(path)) < 4 << 20


def test_two_files_whose_rows_do_not_fit_are_not_read(tmp_path: Path) -> None:
    x, y = written(tmp_path, "x.gz", gzip.compress(idx("u1", (16 << 20,)) + BOMB)), written(tmp_path, "y.npy", NPY)
    assert complaint(f"{x},{y}") == "FILE: x has 16777216 rows, but y has 2"
    assert peak(lambda: complaint(f"{x},{y}")) < 4 << 20


PACKED = {
    "x.gz": (gzip.compress(idx("u1", (2**31,)) + NOISE), 2**31),
    "x.npz": (npz(x=LARGE, junk=NOISE, sizes={"x": len(LARGE) + 3 * 10**9}), len(LARGE) + 3 * 10**9),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_claims_to_unpack_to_much_is_told_the_limit_and_how_to_lift_it(tmp_path: Path, name: str) -> None:
    content, claimed = PACKED[name]
    path = written(tmp_path, name, content)
    assert complaint(path) == (
        f"FILE has {len(content):,} bytes and claims to unpack to {claimed:,}, but may to 268,435,456 at most; "
        f"if you trust it, allow more with max_bytes (--max-bytes {claimed})"
    )
    assert complaint(path, max_bytes=claimed).startswith(("FILE is ", "FILE: x is "))


@pytest.mark.parametrize("name", ["x.gz", "x.npz"])
def test_max_bytes_is_what_may_be_unpacked(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, gzip.compress(IDX) if name == "x.gz" else npz(x=SAMPLE))
    held = SAMPLE.nbytes if name == "x.gz" else len(NPY)
    np.testing.assert_array_equal(load(path, max_bytes=held).x, SAMPLE)
    assert complaint(path, max_bytes=held - 1).startswith("FILE has ")


def test_a_large_file_may_unpack_to_ten_times_its_size(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("anynet.datasets.reading.MOST_UNPACKED", 0)
    noise = np.frombuffer(NOISE[:4096], np.uint8)
    for zeros, fits in ((30_000, True), (60_000, False)):
        array = np.concatenate([noise, np.zeros(zeros, np.uint8)])
        assert (complaint(written(tmp_path, "x.npz", npz(x=array))) == "") is fits


def test_what_is_stored_as_it_is_may_be_as_large_as_it_is(tmp_path: Path) -> None:
    stored = written(tmp_path, "x.npz", npz(zipfile.ZIP_STORED, x=SAMPLE))
    for path in (stored, written(tmp_path, "x.npy", NPY), written(tmp_path, "x.idx", IDX)):
        np.testing.assert_array_equal(load(path, max_bytes=1).x, SAMPLE)


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "9"])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    for read, name in ((load, "max_bytes"), (read_idx, "max_bytes"), (load, "max_classes"), (read_csv, "max_classes")):
        with pytest.raises(UsageError, match=f"{name} must be a whole number, 1 or more, but is "):
            read("x.gz", **{name: limit})


@pytest.mark.parametrize("name", ["x.idx", "x.gz", "x.npy", "x.npz", "values.csv", "classes.csv"])
def test_reading_takes_little_more_memory_than_its_arrays(tmp_path: Path, name: str) -> None:
    x = np.random.default_rng(0).integers(0, 2**31, (20_000, 50)).astype(">i4")
    plain = idx("i4", x.shape, x.tobytes())
    targets = [f"{i / 7}" if name == "values.csv" else "odd" if i % 2 else "even" for i in range(len(x))]
    table = "".join(f"{row[0]},{row[1]},{target}\n" for row, target in zip(x, targets, strict=True))
    contents = {"idx": plain, "gz": gzip.compress(plain), "npy": npy(x), "npz": npz(x=x), "csv": "a,b,y\n" + table}
    kind = name.split(".")[1]
    path, target = written(tmp_path, name, contents[kind]), "y" if kind == "csv" else None
    data = load(path, target)
    # Beside them, what is read at a time; Python 3.14 holds 128 KiB of each open file more.
    beside = (1 << 20) + (1 << 18)
    assert peak(lambda: load(path, target)) < 1.5 * (data.x.nbytes + (data.y.nbytes if target else 0)) + beside
