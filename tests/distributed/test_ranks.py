"""Ranks that are threads train as one process does: the same numbers, and all of them the same bytes."""

from __future__ import annotations

import pytest
from distributed.ranked import Case, assert_as_alone, each, trained

from anynet.distributed import run_threads


@pytest.mark.parametrize("case", tuple(each()), ids=lambda case: case.name)
@pytest.mark.backends("numpy", "torch")
def test_ranks_together_come_to_the_numbers_of_one_process(case: Case, backend_name: str) -> None:
    alone = trained(case, None, backend_name)
    for ranks in (2, 8):
        assert_as_alone(case, alone, run_threads(ranks, lambda comm: trained(case, comm, backend_name)))


@pytest.mark.parametrize("case", tuple(each()), ids=lambda case: case.name)
@pytest.mark.needs("cupy:1")
def test_ranks_with_a_gpu_each_come_to_the_numbers_of_one_process(case: Case) -> None:
    alone = trained(case, None, "cupy")
    assert_as_alone(case, alone, run_threads(2, lambda comm: trained(case, comm, f"cupy:{comm.rank}")))
