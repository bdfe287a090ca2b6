"""What ranks say to one another."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from distributed.mpirun import mpirun

from anynet import Model
from anynet.distributed import Communicator, is_silent, run_threads, select, silent
from anynet.errors import RankError, UsageError
from anynet.nn import SGD, Linear, MSELoss

pytestmark = pytest.mark.host

IN_MPI = """
import json
import sys
import numpy as np
from mpi4py import MPI
from anynet import distributed

comm = distributed.select(MPI.COMM_WORLD)
x = np.asarray([comm.rank + 1.0, 10.0], np.float32)
sys.stdout.write(json.dumps([
    [comm.rank, comm.ranks, comm.local_rank],
    comm.total(x, np.empty_like(x)).tolist(),
    comm.total(x, x).tolist(),
    comm.any(comm.rank * 7),
    comm.gather({"rank": comm.rank, "more": "x" * comm.rank}),
    distributed.select(MPI.COMM_WORLD)._comm == comm._comm,
]) + "\\n")
"""

LARGE_IN_MPI = """
import sys
import numpy as np
from mpi4py import MPI
from anynet import distributed

comm = distributed.select(MPI.COMM_WORLD)
for dtype in (np.float32, np.float64, np.uint8):
    for size in (40_000, 131_072, 300_001):
        of_ranks = [np.random.default_rng(rank).uniform(0, 80, size).astype(dtype) for rank in range(comm.ranks)]
        expected = (of_ranks[0] + of_ranks[1]) + of_ranks[2]
        x = of_ranks[comm.rank].copy()
        assert np.array_equal(comm.total(x, np.empty_like(x)), expected)
        assert np.array_equal(x, of_ranks[comm.rank])
        assert np.array_equal(comm.total(x, x), expected)
sys.stdout.write("equal\\n")
"""


def test_ranks_add_up_and_gather() -> None:
    def work(comm: Communicator) -> Any:
        x = np.asarray([comm.rank + 1.0, 10.0], np.float32)
        total = comm.total(x, np.empty_like(x)).tolist()
        return (
            comm.rank,
            comm.ranks,
            total,
            comm.total(x, x).tolist(),
            comm.any(comm.rank * 7),
            comm.gather("x" * comm.rank),
        )

    for rank, found in enumerate(run_threads(3, work)):
        assert found == (rank, 3, [6.0, 30.0], [6.0, 30.0], 14, ["", "x", "xx"])


def test_mpi_does_the_same_on_a_communicator_of_our_own() -> None:
    for rank, line in enumerate(sorted(mpirun(3, "python", "-c", IN_MPI).stdout.splitlines())):
        gathered = [{"rank": other, "more": "x" * other} for other in range(3)]
        assert json.loads(line) == [[rank, 3, rank], [6.0, 30.0], [6.0, 30.0], 14, gathered, True]


def test_large_arrays_are_added_in_the_order_of_ranks() -> None:
    assert mpirun(3, "python", "-c", LARGE_IN_MPI).stdout == "equal\n" * 3


@pytest.mark.parametrize("rows", [0, 1, 2, 10, 11])
def test_the_parts_of_the_ranks_are_all_rows_in_order(rows: int) -> None:
    parts = run_threads(3, lambda comm: list(range(rows))[comm.part(rows)])
    assert [row for part in parts for row in part] == list(range(rows))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_an_exception_on_one_rank_is_one_on_all() -> None:
    def work(comm: Communicator) -> str:
        try:
            with comm.together():
                if comm.rank == 1:
                    raise OSError("the disk is full")
        except (OSError, RankError) as error:
            return str(error)
        return "went on"

    assert run_threads(3, work) == [
        "rank 1 has failed, and says why",
        "the disk is full",
        "rank 1 has failed, and says why",
    ]


def test_a_rank_that_fails_elsewhere_frees_the_threads_that_wait_for_it() -> None:
    def work(comm: Communicator) -> int:
        if comm.rank == 1:
            raise OSError("the disk is full")
        return comm.any(0)

    with pytest.raises(OSError, match="the disk is full"):
        run_threads(3, work)


def test_in_silence_a_rank_adds_up_nothing_but_its_own() -> None:
    model = Model(Linear(1), MSELoss(), SGD(0.1), dtype="float64")
    with silent():
        assert is_silent()
        assert [x.tolist() for x in model.backend.total(Communicator(), np, np.ones(2))] == [[1.0, 1.0]]
    assert not is_silent()


def test_what_is_no_communicator_is_refused() -> None:
    with pytest.raises(
        UsageError,
        match=r"comm must be a communicator of mpi4py, such as MPI.COMM_WORLD, or a mesh of JAX's devices, or None",
    ):
        select("MPI")
    assert select(None).ranks == 1
