"""Ranks, be they threads or processes of MPI, come to the numbers of one process, and all to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from distributed.mpirun import mpirun
from distributed.ranked import Case, assert_as_alone, each, trained

from anynet.distributed import run_threads

SCRIPT = str(Path(__file__).with_name("train_on_ranks.py"))
CASES = {case.name: case for case in each()}


@pytest.mark.host
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_ranks_together_come_to_the_numbers_of_one_process(case: Case) -> None:
    alone = trained(case, None, "numpy", epochs=4)
    for ranks in (2, 8):
        assert_as_alone(case, alone, run_threads(ranks, lambda comm: trained(case, comm, "numpy", epochs=4)))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.needs("cupy:1")
def test_ranks_with_a_gpu_each_come_to_the_numbers_of_one_process(case: Case) -> None:
    alone = trained(case, None, "cupy", epochs=4)
    assert_as_alone(case, alone, run_threads(2, lambda comm: trained(case, comm, f"cupy:{comm.rank}", epochs=4)))


@pytest.mark.host
@pytest.mark.backends("numpy", "torch")
def test_two_processes_of_mpi_come_to_the_numbers_of_one(backend_name: str) -> None:
    assert_mpi_comes_to_the_numbers_of_one(2, backend_name, epochs=25 if backend_name == "numpy" else 5)


@pytest.mark.host
def test_four_processes_of_mpi_come_to_the_numbers_of_one() -> None:
    assert_mpi_comes_to_the_numbers_of_one(4, "numpy", epochs=2)


def assert_mpi_comes_to_the_numbers_of_one(ranks: int, backend: str, epochs: int) -> None:
    lines = mpirun(ranks, "python", SCRIPT, backend, str(epochs)).stdout.splitlines()
    found = {line["name"]: line for line in map(json.loads, lines)}
    assert found.keys() == CASES.keys()
    for name, line in found.items():
        assert line["difference"] <= CASES[name].tolerance
        assert line["same"]
