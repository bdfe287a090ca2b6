"""Data that are larger than memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chosen import BACKEND

from anynet.cli import main
from anynet.datasets import mapped
from anynet.datasets.on_disk import OnDisk
from anynet.errors import DataError, ShapeError
from anynet.model import Model
from anynet.nn import SGD, CrossEntropyLoss, Flatten, Linear, Rescale, Sequential
from anynet.training import Callback


def saved(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def images(rows: int = 300) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (rows, 4, 4), np.uint8), generator.integers(0, 3, rows)


def model(backend: str = BACKEND) -> Model:
    network = Sequential(Rescale(1 / 255), Flatten(), Linear(3))
    return Model(network, CrossEntropyLoss(), SGD(0.1), backend=backend)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "int16", ">f4"])
def test_a_mapped_array_trains_as_the_same_array_in_memory_does(tmp_path: Path, backend_name: str, dtype: str) -> None:
    x, y = images()
    x = x.astype(dtype)
    mapped = np.load(saved(tmp_path / "x.npy", x), mmap_mode="r")
    expected = model(backend_name).fit(x, y, epochs=3, batch_size=32)
    actual = model(backend_name).fit(mapped, y, epochs=3, batch_size=32, validation_data=(mapped, y))
    for one, other in zip(expected, actual, strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-6)


def test_an_error_that_is_kept_keeps_nothing_that_reads_ahead(tmp_path: Path) -> None:
    class Fails(Callback):
        def on_batches_end(self, model: Any, samples: int) -> None:
            raise ZeroDivisionError

    x, y = images(20_000)
    path = saved(tmp_path / "x.npy", x)
    before = threading.enumerate()
    with pytest.raises(ZeroDivisionError) as kept:
        model().fit([path], y, callbacks=[Fails()])
    assert threading.enumerate() == before
    assert kept


def test_a_sequence_of_files_is_one_array(tmp_path: Path) -> None:
    x, y = images()
    files = [saved(tmp_path / f"x{i}.npy", part) for i, part in enumerate(np.array_split(x, 3))]
    labels = [str(saved(tmp_path / f"y{i}.npy", part)) for i, part in enumerate(np.array_split(y, 2))]
    one, other = model(), model()
    one.fit(x, y, batch_size=7)
    other.fit(files, labels, batch_size=7)
    for name, values in one.parameters.items():
        np.testing.assert_array_equal(values, other.parameters[name])
    assert one.evaluate(x, y) == other.evaluate(files, labels)
    np.testing.assert_array_equal(one.predict(x), other.predict(files))


def test_what_is_not_finite_is_found_before_training_wherever_it_lies(tmp_path: Path) -> None:
    x = np.zeros((5000, 500), np.float32)
    x[4321, 7] = np.nan
    with pytest.raises(DataError, match="x holds nan in row 4321"):
        model().fit(np.load(saved(tmp_path / "x.npy", x), mmap_mode="r"), np.zeros(5000))


def test_parts_that_differ_are_refused(tmp_path: Path) -> None:
    files = [saved(tmp_path / "a.npy", np.zeros((3, 2))), saved(tmp_path / "b.npy", np.zeros((3, 4)))]
    with pytest.raises(ShapeError, match="rows of one shape and dtype"):
        model().fit(files, np.zeros(6))


def test_a_file_shorter_than_it_says_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((30, 2)))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match="truncated"):
        model().fit([path], np.zeros(30))


CUT_OFF = """
import os, sys, threading, time
import numpy as np
from anynet.datasets import mapped
from anynet.datasets.on_disk import OnDisk
from anynet.errors import DataError

path, random = sys.argv[1], np.random.default_rng(0)
for kept in random.integers(0, 4_000_000, 50):
    np.save(path, np.ones((4000, 1000), np.uint8))
    rows = OnDisk([np.load(path, mmap_mode="r")])
    cut = threading.Timer(random.uniform(0, 0.01), os.truncate, (path, kept))
    cut.start()
    try:
        while rows.take(random.integers(0, 4000, 3000)).all():
            pass
    except DataError as error:
        assert str(error).startswith(f"{path} became shorter while it was read: it held 4,000,128 bytes"), error
        assert f"now holds {kept:,};" in str(error), error
        print("refused")
    cut.join()
"""


@pytest.mark.skipif(not mapped.can_gather(), reason="only Linux reports a page that is gone in place of a signal")
def test_a_file_cut_off_at_any_moment_is_an_error_and_no_signal(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CUT_OFF, str(tmp_path / "x.npy")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "refused\n" * 50


@pytest.mark.parametrize("gathers", [True, False])
@pytest.mark.parametrize("left", [0, 100, 4096, 30_000])
def test_a_file_cut_off_before_it_is_read_says_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gathers: bool, left: int
) -> None:
    if not gathers:
        monkeypatch.setattr("anynet.datasets.on_disk.can_gather", lambda: False)
    path = saved(tmp_path / "x.npy", np.ones((300, 125)))
    other = saved(tmp_path / "other.npy", np.ones((300, 125)))
    mapped_array = np.load(path, mmap_mode="r")
    os.truncate(path, left)
    joined = OnDisk([np.load(other, mmap_mode="r"), mapped_array])
    for x in (mapped_array, np.asarray(mapped_array)[1:], joined):
        with pytest.raises(DataError, match=f"x.npy became shorter .* held 300,128 bytes, and now holds {left:,};"):
            model().fit(x, np.zeros(len(x)))


def test_a_file_replaced_or_grown_is_read_as_it_was_mapped(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.zeros((30, 2)))
    rows = OnDisk([np.load(path, mmap_mode="r")])
    with path.open("ab") as file:
        file.write(bytes(99))
    saved(tmp_path / "new.npy", np.ones((5, 2))).replace(path)
    np.testing.assert_array_equal(rows[:], np.zeros((30, 2)))


LAYOUTS = {
    "as saved": lambda x: x,
    "column by column": np.asfortranarray,
    "every second row": lambda x: x[::2],
    "every second column": lambda x: x[:, ::2],
    "back to front": lambda x: x[::-1, ::-1],
    "other axes first": lambda x: x.transpose(2, 0, 1),
    "single numbers": lambda x: x[:, 1, 2],
    "one row again and again": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("gathers", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_taken_however_they_lie_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, gathers: bool
) -> None:
    if not gathers:
        monkeypatch.setattr("anynet.datasets.on_disk.can_gather", lambda: False)
    x = np.arange(2000 * 3 * 4, dtype=np.int16).reshape(2000, 3, 4)
    array = np.asfortranarray(x) if layout == "column by column" else x
    view = np.load(saved(tmp_path / "x.npy", array), mmap_mode="r")
    view, expected = (part if layout == "column by column" else LAYOUTS[layout](part) for part in (view, x))
    rows = np.random.default_rng(0).integers(0, len(view), 3000, dtype=np.int32)
    np.testing.assert_array_equal(OnDisk([view]).take(rows), expected[rows])


def test_rows_of_some_rows_are_still_on_disk() -> None:
    rows = OnDisk([np.arange(10.0), np.arange(10.0, 13.0)]).only(np.asarray([12, 3, 0])).only(np.asarray([1, 0]))
    assert rows.shape == (2,)
    np.testing.assert_array_equal(rows[:], [3, 12])


def test_what_is_written_to_a_private_copy_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = np.load(saved(tmp_path / "x.npy", np.zeros((4, 2))), mmap_mode="c")
    mapped[1] = 7
    monkeypatch.setattr("anynet.datasets.on_disk.BYTES_UNTIL_RELEASE", 0)
    OnDisk([mapped]).take(np.arange(4))
    np.testing.assert_array_equal(mapped[1], [7, 7])


LIMITED = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[4])
from datasets.test_on_disk import model
allowed = int(sys.argv[3]) << 20
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
try:
    np.ones(allowed, np.uint8)
except MemoryError:
    pass
else:
    sys.exit("the limit is not enforced")
record = model().fit([sys.argv[1]], np.load(sys.argv[2]), batch_size=256)[-1]
print(record["loss"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's own memory so")
def test_four_times_the_memory_that_the_process_is_allowed_can_be_trained_on(tmp_path: Path) -> None:
    # Loading NumPy and its matrix products takes most of it already.
    allowed_mib = 192
    rows = 4 * (allowed_mib << 20) // (28 * 28)
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.uint8, (rows, 28, 28))
    x[:, 0, 0] = np.arange(rows) % 3
    y = saved(tmp_path / "y.npy", (np.arange(rows) % 3).astype(np.int32))
    arguments = [str(tmp_path / "x.npy"), str(y), str(allowed_mib), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "ANYNET_TEST_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert np.isfinite(float(done.stdout))


def test_the_command_line_trains_on_files_that_a_pattern_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    x = generator.normal(1000.0, [1.0, 50.0], (400, 2))
    y = (x[:, 0] > 1000).astype(int)
    for i, (rows, labels) in enumerate(zip(np.array_split(x, 3), np.array_split(y, 3), strict=True)):
        np.save(f"x-{i}.npy", rows)
        np.save(f"y-{i}.npy", labels)
    np.savez("whole.npz", x=x, y=y)
    results = []
    for source in ("x-*.npy,y-*.npy", "whole.npz"):
        assert main(["train", source, "--backend", BACKEND, "--hidden", "8", "--epochs", "3", "--json"]) == 0
        results.append(json.loads(capsys.readouterr().out))
    assert results[0]["validation_loss"] == pytest.approx(results[1]["validation_loss"], rel=1e-5)
    assert results[0]["run"].startswith("runs/x-")


def test_a_pattern_that_matches_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "nowhere-*.npy,y.npy"]) == 3
    assert "should match .npy files, but matches none" in capsys.readouterr().err
