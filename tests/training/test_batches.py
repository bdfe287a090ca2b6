"""How the rows of an epoch become batches, and how much each row counts in its batch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from anynet.backends import select
from anynet.datasets.on_disk import OnDisk
from anynet.distributed import Communicator
from anynet.training.batches import Chunk, chunks, cuts, normalize_weights
from anynet.training.rng import generator
from anynet.training.sources import ResidentSource, StreamedSource, make_source

pytestmark = pytest.mark.host


def backend(steps: int = 64, room: int = 1 << 20, resident: float = 1e9) -> Any:
    """NumPy, where so many steps and bytes come at once, and data of so many bytes may stay."""
    made = select("numpy", "float64")
    limits = {"steps_at_once": steps, "bytes_at_once": room, "resident_bytes": lambda self: resident}
    return type("Limited", (type(made),), limits)(dtype="float64")


@pytest.mark.parametrize(
    ("limits", "rows", "size", "row_bytes", "most_steps", "expected"),
    [
        ({}, 10, 3, 1, None, [(0, 3, 3), (9, 1, 1)]),
        ({}, 9, 3, 1, None, [(0, 3, 3)]),
        ({}, 2, 3, 1, None, [(0, 1, 2)]),
        ({}, 1, 1, 1, None, [(0, 1, 1)]),
        ({}, 0, 3, 1, None, []),
        ({}, 10, 3, 1, 2, [(0, 2, 3), (6, 1, 3), (9, 1, 1)]),
        ({}, 7, 3, 1, 1, [(0, 1, 3), (3, 1, 3), (6, 1, 1)]),
        ({"steps": 2}, 10, 3, 1, None, [(0, 2, 3), (6, 1, 3), (9, 1, 1)]),
        ({"steps": 2}, 10, 3, 1, 64, [(0, 2, 3), (6, 1, 3), (9, 1, 1)]),
        # Two batches of 3 rows of 4 bytes are 24 bytes.
        ({"room": 24}, 10, 3, 4, None, [(0, 2, 3), (6, 1, 3), (9, 1, 1)]),
        ({"room": 23}, 10, 3, 4, None, [(0, 1, 3), (3, 1, 3), (6, 1, 3), (9, 1, 1)]),
        ({"room": 1}, 4, 2, 4, None, [(0, 1, 2), (2, 1, 2)]),
        ({"room": 2}, 6, 2, 0, None, [(0, 2, 2), (4, 1, 2)]),
    ],
)
def test_rows_are_cut_into_as_many_batches_at_once_as_steps_and_bytes_allow(
    limits: dict[str, int], rows: int, size: int, row_bytes: int, most_steps: int | None, expected: Any
) -> None:
    assert list(cuts(backend(**limits), rows, size, row_bytes, most_steps)) == expected


def test_each_array_of_a_chunk_has_its_rows_stacked_by_batch() -> None:
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    found = list(chunks(backend(), (x, y), 4))
    assert [(chunk.steps, chunk.batch_size, chunk.rows) for chunk in found] == [(2, 4, 8), (1, 2, 2)]
    for chunk, rows, shape in zip(found, (slice(0, 8), slice(8, 10)), ((2, 4), (1, 2)), strict=True):
        np.testing.assert_array_equal(chunk.arrays[0], x[rows].reshape(*shape, 2))
        np.testing.assert_array_equal(chunk.arrays[1], y[rows].reshape(shape))
        assert len(chunk.arrays) == 2


def test_the_bytes_of_a_row_are_those_of_all_its_arrays() -> None:
    x, y = np.zeros((8, 3, 2)), np.zeros(8, np.int16)
    # 6 numbers of 8 bytes and one of 2 are 50, and batches of 2 rows take 100.
    for room, steps in ((200, [2, 2]), (199, [1, 1, 1, 1]), (400, [4]), (399, [3, 1])):
        assert [chunk.steps for chunk in chunks(backend(room=room), (x, y), 2)] == steps
    assert [chunk.steps for chunk in chunks(backend(), (x, y), 2, most_steps=3)] == [3, 1]


@pytest.mark.parametrize(
    ("weight", "order", "size", "shares", "totals"),
    [
        ([1.0, 3.0, 5.0], [0, 1, 2], 2, [0.25, 0.75, 1.0], [4.0, 5.0]),
        ([1.0, 3.0, 5.0], [2, 0, 1], 2, [5 / 6, 1 / 6, 1.0], [6.0, 3.0]),
        ([1.0, 3.0, 4.0], [0, 1, 2], 3, [0.125, 0.375, 0.5], [8.0]),
        ([1.0, 3.0, 4.0], [0, 1, 2], 100, [0.125, 0.375, 0.5], [8.0]),
        ([2.0, 0.5], [1, 0], 1, [1.0, 1.0], [0.5, 2.0]),
        ([0.0, 0.0, 1.0, 0.0], [0, 1, 2, 3], 2, [0.0, 0.0, 1.0, 0.0], [0.0, 1.0]),
    ],
)
def test_the_weights_of_a_batch_are_shares_of_its_total(
    weight: Any, order: Any, size: int, shares: Any, totals: Any
) -> None:
    given = np.asarray(weight)
    found = normalize_weights(given, np.asarray(order), size)
    np.testing.assert_allclose(found[0], shares, rtol=1e-15)
    np.testing.assert_array_equal(found[1], totals)
    np.testing.assert_array_equal(given, weight)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 9])
def test_one_number_for_all_rows_weighs_as_if_it_were_written_out(size: int) -> None:
    order = np.asarray([4, 0, 3, 1, 2])
    short = normalize_weights(np.broadcast_to(np.asarray(2.5), 5), order, size)
    long = normalize_weights(np.full(5, 2.5), order, size)
    for one, other in zip(short, long, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-15)


X, Y = np.arange(60.0).reshape(20, 3), np.arange(20, dtype=np.int32)
ORDER = np.random.default_rng(2).permutation(20)[:17]
WEIGHT = np.linspace(0, 1, 17)


def batches_of(source: Any, **options: Any) -> list[Chunk]:
    return list(source.batches(ORDER, (WEIGHT,), 4, **options))


@pytest.mark.parametrize("limits", [{}, {"steps": 1}, {"steps": 3}, {"room": 150}, {"room": 1}], ids=str)
def test_streamed_batches_have_the_rows_whose_numbers_resident_batches_have(limits: dict[str, int]) -> None:
    streamed = [chunk.arrays for chunk in batches_of(StreamedSource(backend(**limits), (X, Y)))]
    rows = np.concatenate([x.reshape(-1, 3) for x, _, _ in streamed])
    np.testing.assert_array_equal(rows, X[ORDER])
    np.testing.assert_array_equal(np.concatenate([y.ravel() for _, y, _ in streamed]), Y[ORDER])
    np.testing.assert_array_equal(np.concatenate([w.ravel() for _, _, w in streamed]), WEIGHT)
    source = ResidentSource(backend(**limits), (X, Y))
    resident = [chunk.arrays for chunk in batches_of(source)]
    np.testing.assert_array_equal(np.concatenate([numbers.ravel() for numbers, _ in resident]), ORDER)
    np.testing.assert_array_equal(np.concatenate([w.ravel() for _, w in resident]), WEIGHT)
    np.testing.assert_array_equal(source.data[0], X)
    np.testing.assert_array_equal(source.data[1], Y)
    assert StreamedSource(backend(), (X, Y)).data == ()


def test_what_is_streamed_comes_in_stretches_of_as_many_bytes_as_fit() -> None:
    def steps(room: int, **options: Any) -> list[int]:
        return [chunk.steps for chunk in batches_of(StreamedSource(backend(room=room), (X, Y)), **options)]

    # 3 numbers of 8 bytes and one of 4 are 28, and batches of 4 rows take 112.
    assert steps(448) == [4, 1]
    assert steps(447) == [3, 1, 1]
    assert steps(447, most_steps=2) == [2, 2, 1]
    assert [chunk.batch_size for chunk in batches_of(StreamedSource(backend(), (X, Y)))] == [4, 1]


def test_resident_batches_come_in_stretches_of_no_more_steps_than_asked_for() -> None:
    source = ResidentSource(backend(), (X, Y))
    assert [chunk.steps for chunk in batches_of(source)] == [4, 1]
    assert [chunk.steps for chunk in batches_of(source, most_steps=3)] == [3, 1, 1]


def test_the_next_rows_are_read_while_the_device_works_on_those_before() -> None:
    read: list[int] = []

    class Reading(StreamedSource):
        def _read(self, *arguments: Any) -> Chunk:
            read.append(threading.get_ident())
            return super()._read(*arguments)

    batches = Reading(backend(steps=1), (X, Y)).batches(ORDER, (WEIGHT,), 4)
    next(batches)
    batches.close()
    assert len(read) == 2
    assert threading.get_ident() not in read


def test_an_error_while_reading_ahead_comes_to_whoever_takes_the_batch() -> None:
    class Broken(StreamedSource):
        def _read(self, order: Any, weights: Any, start: int, *sizes: int) -> Chunk:
            if start == 8:
                raise OSError("the disk is gone")
            return super()._read(order, weights, start, *sizes)

    batches = Broken(backend(steps=1), (X, Y)).batches(ORDER, (WEIGHT,), 4)
    assert [next(batches).rows, next(batches).rows] == [4, 4]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)


def test_what_fits_on_the_device_stays_there_and_the_rest_is_streamed(tmp_path: Any) -> None:
    size = X.nbytes + Y.nbytes
    assert isinstance(make_source(backend(resident=size), (X, Y), Communicator()), ResidentSource)
    assert isinstance(make_source(backend(resident=size - 1), (X, Y), Communicator()), StreamedSource)
    np.save(tmp_path / "x.npy", X)
    mapped = OnDisk([np.load(tmp_path / "x.npy", mmap_mode="r")])
    source = make_source(backend(), (mapped, Y), Communicator())
    assert isinstance(source, StreamedSource)
    np.testing.assert_array_equal(np.concatenate([c.arrays[0].reshape(-1, 3) for c in batches_of(source)]), X[ORDER])


def test_each_purpose_and_each_epoch_has_random_numbers_of_its_own() -> None:
    drawn = [
        generator(seed, purpose, *position).random()
        for seed in (0, 1)
        for purpose, *position in (("weights",), ("order", 0), ("order", 1), ("split",))
    ]
    assert len(set(drawn)) == len(drawn)
    # A seed gives the same training tomorrow.
    for number, purpose in enumerate(("weights", "order", "split")):
        expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(number, 7)))
        assert generator(5, purpose, 7).random() == expected.random()
