"""What reading data promises: the right numbers, or one line that says what is wrong with which file."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import re
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as arrays_of
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.datasets import make_circles

from anynet import datasets
from anynet.datasets import Dataset, load, read_csv, read_idx
from anynet.errors import DataError, ShapeError, UsageError

pytestmark = pytest.mark.host

MNIST = Path(datasets.__file__).parent / "mnist"
IDX_TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MOST = 2**32 - 1


def idx(kind: str, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    return bytes([0, 0, IDX_TYPES[kind], len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npy_header(header: str, version: bytes = b"\1\0") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(header)) + header.encode()


def npz(
    compression: int = zipfile.ZIP_DEFLATED, suffix: str = ".npy", sizes: dict[str, int] | None = None, **members: Any
) -> bytes:
    """The arrays, or bytes, as members of an archive, some of them said to have other sizes than they have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in members.items():
            archive.writestr(name + suffix, member if isinstance(member, bytes) else npy(member))
        for name, size in (sizes or {}).items():
            archive.getinfo(name + suffix).file_size = size
    return file.getvalue()


def twice(name: str, member: bytes) -> bytes:
    """An archive that holds an array twice."""
    return npz(**{name: member, name.upper(): member}).replace(f"{name.upper()}.npy".encode(), f"{name}.npy".encode())


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def complaint(source: Path | str, *arguments: Any, **named: Any) -> str:
    """What a reader sees of an error, without the name of the file; nothing if there is none."""
    try:
        load(source, *arguments, **named)
    except DataError as error:
        return str(error).replace(str(source), "FILE")
    return ""


def peak(run: Callable[[], object]) -> int:
    """The most bytes that were held at once while it ran."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SAMPLE = np.arange(6, dtype=np.uint8).reshape(2, 3)
IDX, NPY = idx("u1", (2, 3), SAMPLE.tobytes()), npy(SAMPLE)
GOOD = {
    "x.idx": IDX,
    "x.gz": gzip.compress(IDX),
    "x.npy": NPY,
    "x.npz": npz(x=SAMPLE, y=np.arange(2), x_test=SAMPLE[:1], y_test=np.arange(1)),
    "x.csv": b'a,"b\nc",y\n1,2.5,cat\n"3\n",4,dog\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize(
    ("samples", "noise", "seed", "factor"), [(1000, 0.1, 42, 0.8), (7, 0.5, 0, 0.3), (1, 0.0, MOST, 0.0)]
)
def test_circles_are_those_of_scikit_learn(samples: int, noise: float, seed: int, factor: float) -> None:
    data = datasets.circles(samples, noise, seed, factor)
    x, y = make_circles(n_samples=samples, noise=noise, random_state=seed, factor=factor)
    np.testing.assert_array_equal(data.x, x)
    np.testing.assert_array_equal(data.y, y)


def test_circles_by_name_are_1000_with_noise_a_tenth_and_seed_42() -> None:
    np.testing.assert_array_equal(load("circles").x, make_circles(n_samples=1000, noise=0.1, random_state=42)[0])


@pytest.mark.parametrize(
    "setting", [{"samples": 0}, {"samples": 2.5}, {"noise": -1}, {"noise": math.nan}, {"seed": -1}, {"factor": 1.0}]
)
def test_circles_refuse_settings_out_of_range(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(setting))} of circles is out of range: "):
        datasets.circles(**setting)


def test_a_data_set_is_shown_in_a_line_wherever_its_rows_lie(tmp_path: Path) -> None:
    np.save(tmp_path / "x-1.npy", np.zeros((50, 3), "f4"))
    np.save(tmp_path / "x-2.npy", np.zeros((70, 3), "f4"))
    np.save(tmp_path / "y.npy", np.zeros(120, "i4"))
    assert (
        repr(load(f"{tmp_path}/x-*.npy,{tmp_path}/y.npy"))
        == "Dataset('x', x: (120, 3) float32 on disk, y: (120,) int32)"
    )
    assert repr(load("mnist")) == (
        "Dataset('mnist', x: (60000, 28, 28) uint8, y: (60000,) uint8, "
        "x_test: (10000, 28, 28) uint8, y_test: (10000,) uint8, 10 classes)"
    )
    assert repr(Dataset("by\nhand", [[1.0]] * 100)).count("\n") == 0


def test_mnist_has_the_documented_bytes() -> None:
    documented = re.findall(r"\| (\S+-ubyte) \| (\d+) \| ([0-9a-f]{64}) \|", (MNIST / "LICENSE.md").read_text())
    assert len(documented) == 4
    for name, length, checksum in documented:
        content = gzip.decompress((MNIST / f"{name}.gz").read_bytes())
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(length), checksum)


def test_mnist_names_authors_and_licence_and_takes_at_most_12_megabytes() -> None:
    text = (MNIST / "LICENSE.md").read_text()
    assert all(words in text for words in ("Yann LeCun", "Corinna Cortes", "CC BY-SA 3.0", "creativecommons.org"))
    assert sum(file.stat().st_size for file in MNIST.iterdir()) <= 12e6


def test_mnist_is_60000_and_10000_digits_as_bytes() -> None:
    data = load("mnist")
    assert (data.x.shape, data.x_test.shape, data.x.dtype) == ((60000, 28, 28), (10000, 28, 28), np.uint8)
    assert np.bincount(data.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.classes == tuple("0123456789")


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
    ("..", "cannot read FILE: Is a directory"),
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
        "cannot read FILE: Is a directory",
    ]
    paths = no_files(tmp_path, suffix).values()
    assert [complaint(path, "y" if suffix == ".csv" else None) for path in paths] == reasons


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


def test_a_file_that_changes_between_two_looks_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = written(tmp_path, "x.npy", NPY), written(tmp_path, "y.npy", npy(np.zeros(3)))
    monkeypatch.setattr("anynet.datasets.files._shape_of", lambda *_: (2,))
    assert complaint(f"{x},{y}") == "FILE: x has 2 rows, but y has 3"


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
    assert peak(lambda: load(path, target)) < 1.5 * (data.x.nbytes + (data.y.nbytes if target else 0)) + (1 << 20)


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
